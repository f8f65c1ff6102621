"use strict";
/* What the page does by itself: opens a linked detail, filters scenarios, brings each timeline's first parting, or the same place beside it, into view. Works without it as well. */
window.addEventListener("error", (e) => { document.documentElement.dataset.errors = (document.documentElement.dataset.errors || "") + e.message + "\n"; });
function open_target() {
	const there = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
	if (there && there.tagName === "DETAILS") {
		there.open = true;
		there.scrollIntoView();
	}
}
window.addEventListener("hashchange", open_target);
open_target();
document.getElementById("filter").addEventListener("input", (e) => {
	const words = e.target.value.toLowerCase();
	for (const row of document.querySelectorAll("tr.scenario"))
		row.hidden = !row.firstElementChild.textContent.toLowerCase().includes(words);
});
for (const svg of document.querySelectorAll("svg.timeline"))
	svg.parentElement.scrollLeft = Math.max(0, Number(svg.dataset.focus) - svg.parentElement.clientWidth / 2);
