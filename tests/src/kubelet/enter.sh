# Becomes a container: FOLDER USER GROUP EXTRA_GROUPS READ_ONLY WORKING_FOLDER COMMAND...
#
# Runs in a mount namespace of its own, and in a process namespace: as process 1 of its own, or beside others of its pod. Builds
# a root of its own over that of the machine (what is written goes to memory), mounts what FOLDER/mounts lists, leaves the
# machine's root behind, and becomes the command. The environment is the container's, so programs are named by their paths,
# and names here are unlike those of anybody.
# shellcheck shell=sh
set -eu
# From the machine's /proc: the number that the machine knows this process by.
read -r _celeriac_pid _celeriac_rest </proc/self/stat
echo "$_celeriac_pid" >"$1/pid"

cd "$1/layers"
/usr/bin/mount -t tmpfs -o mode=755 layers .
cd "$1/layers"
/usr/bin/mkdir upper work root
/usr/bin/mount -t overlay -o "lowerdir=/,upperdir=$1/layers/upper,workdir=$1/layers/work" root root
cd root
/usr/bin/mkdir .host
/usr/sbin/pivot_root . .host
cd /

# What images do not have: the machine's scratch and people's folders.
for _celeriac_at in /tmp /run /root /home /srv /mnt /media; do
    /usr/bin/mkdir -p "$_celeriac_at"
    /usr/bin/mount -t tmpfs -o mode=755 empty "$_celeriac_at"
done
/usr/bin/chmod 1777 /tmp
/usr/bin/mount -t proc proc /proc
/usr/bin/mount --rbind /.host/dev /dev
/usr/bin/mount -t tmpfs -o mode=1777 shm /dev/shm
/usr/bin/mount --rbind /.host/sys /sys

# Only now, inside: a link in a path (/var/run) leads to the container's folders.
while IFS='	' read -r _celeriac_from _celeriac_at _celeriac_mode; do
    if [ -d "/.host$_celeriac_from" ]; then
        /usr/bin/mkdir -p "$_celeriac_at"
    else
        /usr/bin/mkdir -p "${_celeriac_at%/*}"
        [ -e "$_celeriac_at" ] || : >"$_celeriac_at"
    fi
    /usr/bin/mount --bind "/.host$_celeriac_from" "$_celeriac_at"
    [ "$_celeriac_mode" = rw ] || /usr/bin/mount -o remount,bind,ro "$_celeriac_at"
done <"/.host$1/mounts"

/usr/bin/umount -l /.host
/usr/bin/rmdir /.host
if [ "$5" = yes ]; then
    for _celeriac_at in / /tmp /run /root /home /srv /mnt /media; do
        /usr/bin/mount -o remount,bind,ro "$_celeriac_at"
    done
fi
cd "$6"
unset IFS
_celeriac_user=$2 _celeriac_group=$3 _celeriac_groups=$4
shift 6
if [ "$_celeriac_user" != 0 ]; then
    set -- --reuid "$_celeriac_user" --inh-caps=-all --no-new-privs -- "$@"
else
    set -- -- "$@"
fi
# Another user's process no longer dies with the shell outside unless it is told again.
exec /usr/bin/setpriv --pdeathsig KILL --regid "$_celeriac_group" --groups "$_celeriac_groups" "$@"
