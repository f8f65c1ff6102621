#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs what the build and the checks need, only if something is missing (Debian, Ubuntu).
#   deps.sh            install what is missing
#   deps.sh missing    print the names of the missing packages; status 1 if there are any; `missing report`: those of `make report` among them
#   deps.sh python     print the python3 that has the modules of `make report`
#   deps.sh backports DIR CODENAME OUT    write to OUT the machine's own source entry (DIR = its apt folder) for CODENAME-backports
set -eu

WANTED_QEMU=10
ETC=${DEPS_ETC:-/etc} # the runner's own tests give another
say() { printf 'deps: %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# need TEST PACKAGE...: a command's name, or a file's path; adds the packages when it is not there.
MISSING=
need() {
	thing=$1
	shift
	case $thing in
	/*) [ -e "$thing" ] && return 0 ;;
	*) have "$thing" && return 0 ;;
	esac
	for package in "$@"; do
		case " $MISSING " in *" $package "*) ;; *) MISSING="$MISSING $package" ;; esac
	done
}

# Sanitizers and libFuzzer for clang are a package of their own on some releases, which clang only recommends.
clang_without_rt() {
	have clang || return 1
	dir=$(clang -print-resource-dir 2>/dev/null) || return 1
	[ -d "$dir" ] || return 1
	[ -z "$(find "$dir/" -name 'libclang_rt.asan*' 2>/dev/null | head -n 1)" ] || [ -z "$(find "$dir/" -name 'libclang_rt.fuzzer*' 2>/dev/null | head -n 1)" ]
}

release_field() {
	sed -n "s/^$1=\"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p" "$ETC/os-release" | head -n 1
}

# The python3 of the packages: one that comes first in the path may be another. Status 1 if none has the modules.
report_python() {
	for python in python3 /usr/bin/python3; do
		if "$python" -c 'import jinja2, matplotlib, html5lib' 2>/dev/null; then
			echo "$python"
			return 0
		fi
	done
	echo python3
	return 1
}

# A page, and a browser that opens it. Ubuntu's chromium is a snap, which a container cannot install: check-report skips the browser there.
find_missing_report() {
	report_python >/dev/null || {
		need /nowhere python3-jinja2
		need /nowhere python3-matplotlib
		need /nowhere python3-html5lib
	}
	if [ "$(release_field ID)" = debian ] && ! have chromium-browser && ! have google-chrome; then
		need chromium chromium
	fi
}

find_missing() {
	need gcc gcc
	need clang clang
	clang_without_rt && need /nowhere libclang-rt-dev
	need make make
	need ld binutils
	need objcopy binutils
	need python3 python3
	need /usr/include/stdio.h libc6-dev
	need /usr/include/capstone/capstone.h libcapstone-dev
	need qemu-system-x86_64 qemu-system-x86
	need bochs bochs
	need gdb gdb
	need /usr/share/bochs/BIOS-bochs-latest bochsbios
	need /usr/share/bochs/VGABIOS-lgpl-latest bochs vgabios
	need grub-mkrescue grub-common
	need /usr/lib/grub/i386-pc/kernel.img grub-pc-bin
	need /usr/lib/grub/x86_64-efi/kernel.img grub-efi-amd64-bin
	need xorriso xorriso
	need mformat mtools
	[ -e /usr/share/OVMF/OVMF_CODE.fd ] || need /usr/share/OVMF/OVMF_CODE_4M.fd ovmf
}

qemu_major() {
	have qemu-system-x86_64 || { echo 0; return; }
	qemu-system-x86_64 --version | sed -n 's/.*version \([0-9]*\)\..*/\1/p' | head -n 1
}

# The newest QEMU that an apt suite of this machine offers, as a major number.
qemu_offered() {
	apt-cache madison qemu-system-x86 2>/dev/null | awk -F'|' '{ v = $2; gsub(/ /, "", v); sub(/^[0-9]+:/, "", v); split(v, p, "."); print p[1] }' |
		sort -n | tail -n 1
}

# The machine's own entry for its release, with the suite's name changed. Two formats: deb822 stanzas, and one line an entry.
write_backports() {
	dir=$1 codename=$2 out=$3
	for file in "$dir"/sources.list.d/*.sources; do
		[ -e "$file" ] || continue
		awk -v suite="$codename" -v RS= -v ORS='\n\n' '
			!done && $0 ~ "(^|\n)Suites:([^\n]*[ \t])?" suite "([ \t\n]|$)" && $0 ~ "(^|\n)Types:[^\n]*deb" && $0 !~ "(^|\n)Enabled:[ \t]*no" {
				gsub(/\nSuites:[^\n]*/, "\nSuites: " suite "-backports")
				sub(/^Suites:[^\n]*/, "Suites: " suite "-backports")
				gsub(/\nComponents:[^\n]*/, "\nComponents: main")
				gsub(/\n#[^\n]*/, "")
				print; done = 1
			}' "$file" >"$out.new"
		if [ -s "$out.new" ]; then
			mv "$out.new" "$out.sources"
			echo "$out.sources"
			return 0
		fi
		rm -f "$out.new"
	done
	for file in "$dir"/sources.list "$dir"/sources.list.d/*.list; do
		[ -e "$file" ] || continue
		awk -v suite="$codename" '
			!done && $1 == "deb" {
				i = 2
				if ($2 ~ /^\[/) { while ($i !~ /\]$/) i++; i++ }
				if ($(i + 1) != suite) next
				line = $1
				for (j = 2; j <= i; j++) line = line " " $j
				print line " " suite "-backports main"; done = 1
			}' "$file" >"$out.new"
		if [ -s "$out.new" ]; then
			mv "$out.new" "$out.list"
			echo "$out.list"
			return 0
		fi
		rm -f "$out.new"
	done
	return 1
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif have sudo; then
		sudo "$@"
	else
		say "'$*' needs root, and there is no sudo"
		exit 1
	fi
}

apt_get() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@"; }

# Debian's release may be too old for what the SVM rung needs; its backports are not.
ensure_qemu() {
	[ "$(qemu_major)" -ge "$WANTED_QEMU" ] && return 0
	codename=$(release_field VERSION_CODENAME)
	offered=$(qemu_offered)
	if [ "$(release_field ID)" = debian ]; then
		if [ "${offered:-0}" -lt "$WANTED_QEMU" ]; then
			say "this release's QEMU (${offered:-none}) is older than $WANTED_QEMU and cannot switch breakpoints under SVM"
			say "now adding the suite $codename-backports to the apt sources, copied from this machine's own entry for $codename"
			scratch=$(mktemp -d)
			if written=$(write_backports "$ETC/apt" "$codename" "$scratch/drover-backports"); then
				as_root install -m 644 "$written" "$ETC/apt/sources.list.d/$(basename "$written")"
				say "wrote $ETC/apt/sources.list.d/$(basename "$written"); remove that file to undo it"
				apt_get update
			else
				say "found no source entry for $codename to copy; going on without"
			fi
			rm -rf "$scratch"
		fi
		offered=$(qemu_offered)
		if [ "${offered:-0}" -ge "$WANTED_QEMU" ]; then
			say "installing qemu-system-x86 from $codename-backports or newer"
			apt_get install --no-install-recommends -t "$codename-backports" qemu-system-x86 ||
				apt_get install --no-install-recommends qemu-system-x86
		fi
	fi
	if [ "$(qemu_major)" -lt "$WANTED_QEMU" ]; then
		have qemu-system-x86_64 || apt_get install --no-install-recommends qemu-system-x86
		say "QEMU $(qemu_major) < $WANTED_QEMU: the SVM rung on QEMU will be absent, the others run"
	fi
}

find_missing
case "${1:-install} ${2:-}" in
"install "* | "missing report") find_missing_report ;;
esac
case ${1:-install} in
python)
	report_python
	;;
missing)
	[ -z "$MISSING" ] && exit 0
	echo "$MISSING" | sed 's/^ *//'
	exit 1
	;;
backports)
	write_backports "$2" "$3" "$4"
	;;
install)
	if [ -n "$MISSING" ] || { [ "$(qemu_major)" -lt "$WANTED_QEMU" ] && [ "$(release_field ID)" = debian ]; }; then
		have apt-get || { say "missing:$MISSING; this script knows apt only: install them by hand"; exit 1; }
		say "missing:${MISSING:- qemu-system-x86 >= $WANTED_QEMU}; installing with apt"
		apt_get update
		rest=$(echo " $MISSING " | sed 's/ qemu-system-x86 / /')
		# Without recommended packages: they would bring desktops and more.
		# shellcheck disable=SC2086
		[ -z "$(echo $rest)" ] || apt_get install --no-install-recommends $rest
		if clang_without_rt; then
			apt_get install --no-install-recommends libclang-rt-dev
		fi
	fi
	ensure_qemu
	MISSING=
	find_missing
	find_missing_report
	[ -z "$MISSING" ] || { say "still missing:$MISSING"; exit 1; }
	;;
*)
	say "unknown word: $1"
	exit 2
	;;
esac
