# What somebody at a console can do here.
PS1='bty:\w# '
# What is not here busybox may have: vi, wget, ping, traceroute, nc, telnet, tftp, hexdump.
command_not_found_handle() { busybox "$@"; }
echo 'bty live environment. `bty disks` lists the disks, `journalctl -u bty` tells what happened, `reboot` reboots.'
if [ -n "${TMUX:-}" ]; then echo 'Every console shows this. Ctrl-B c: another shell; Ctrl-B n: the next; Ctrl-B [: scroll; Ctrl-B d: ask for the size of the terminal anew.'; fi
