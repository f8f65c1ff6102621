#!/bin/sh
# SPDX-License-Identifier: MIT
# One hybrid image with GRUB: boots as a CD and as a USB disk, under BIOS and under UEFI.
# usage: boot/mkiso.sh OUT.iso DROVER.elf "drover's command line" [MODULE "module string"]...
# MB=1 in the environment boots by multiboot 1: that also boots the guest bare, given in DROVER.elf's place.
# BARE=GUEST.elf adds a second entry of the menu that boots it without drover, and three seconds to choose.
# The files' dates are SOURCE_DATE_EPOCH (0 when unset).
set -eu

if [ $# -lt 3 ] || [ $(($# % 2)) -eq 0 ]; then
	sed -n '4,6p' "$0" >&2
	exit 2
fi
out=$1 kernel=$2 cmdline=$3
shift 3

for tool in grub-mkrescue xorriso mformat; do
	command -v "$tool" >/dev/null || { echo "mkiso: $tool is missing" >&2; exit 1; }
done

dir=$(mktemp -d "${TMPDIR:-/tmp}/mkiso.XXXXXX")
trap 'rm -rf "$dir"' EXIT INT TERM
mkdir -p "$dir/iso/boot/grub" "$(dirname "$out")"

case ${MB:-2} in
1) load=multiboot module=module ;;
*) load=multiboot2 module=module2 ;;
esac

# GRUB expands $ and drops quotes: command lines go in single quotes, a token each, as GRUB joins them by blanks.
quote() {
	for token in $1; do
		printf " '%s'" "$token"
	done
}

cp "$kernel" "$dir/iso/boot/kernel.elf"
{
	echo "set timeout=$([ -n "${BARE:-}" ] && echo 3 || echo 0)"
	echo 'set default=0'
	echo 'if [ "$grub_platform" = "efi" ]; then insmod all_video; insmod gfxterm; fi'
	echo 'set gfxpayload=1024x768x32,auto'
	echo 'if [ "$grub_platform" = "pc" ]; then set gfxpayload=text; fi'
	echo 'menuentry drover {'
	echo "	$load /boot/kernel.elf$(quote "$cmdline")"
	n=0
	while [ $# -gt 0 ]; do
		cp "$1" "$dir/iso/boot/module$n"
		echo "	$module /boot/module$n$(quote "$2")"
		n=$((n + 1))
		shift 2
	done
	echo '	boot'
	echo '}'
	if [ -n "${BARE:-}" ]; then
		cp "$BARE" "$dir/iso/boot/bare.elf"
		echo 'menuentry "the guest, bare: what this machine does by itself" {'
		echo '	multiboot /boot/bare.elf'
		echo '	boot'
		echo '}'
	fi
} >"$dir/iso/boot/grub/grub.cfg"

find "$dir/iso" -exec touch -d "@${SOURCE_DATE_EPOCH:-0}" {} +
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-0}"
grub-mkrescue --install-modules="multiboot multiboot2 normal iso9660 part_msdos part_gpt fat configfile test all_video gfxterm" \
	--locales= --fonts= --themes= -o "$out" "$dir/iso" >"$dir/log" 2>&1 || { cat "$dir/log" >&2; exit 1; }
