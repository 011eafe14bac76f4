# Becomes a program of another root folder: ROOT SHARED PROGRAM...
#
# Runs in a mount namespace of its own. SHARED, a folder of the machine, is there under its own path, and so are its devices
# and processes; the working folder, which lies in SHARED, stays.
# shellcheck shell=sh
set -eu
root=$1 shared=$2
shift 2
/usr/bin/mount --rbind /dev "$root/dev"
/usr/bin/mount --rbind /proc "$root/proc"
/usr/bin/mkdir -p "$root$shared"
/usr/bin/mount --rbind "$shared" "$root$shared"
exec /usr/sbin/chroot "$root" /usr/bin/env --chdir "$PWD" "$@"
