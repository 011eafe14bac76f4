#!/bin/sh
# How the container of a Redis begins: with the password of the mounted Secret, and every one before it that pods may still have,
# also after a restart. What is kept on the volume are hashes. The server is not restarted for a password: that would have tasks
# run twice. The operator says in an annotation of the pod when no pod has another than the Secret's; by a fingerprint, so that
# a Secret that was changed again meanwhile is not taken for it.
set -euf
umask 077
secret=/etc/redis
told=/etc/celeriac/password
rules=/data/users.acl

# first FILE: its first line, as REPLY.
first() {
    REPLY=
    IFS= read -r REPLY <"$1" || true
    [ -n "$REPLY" ]
}

# sum DIGITS: so many of the sum of what comes in.
sum() {
    sha256sum | cut -c "1-$1"
}

# The password of a user who may change passwords and no more; it is nowhere but here.
admin=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')

# In Redis 6.0 there were no rules for channels.
case $(redis-server --version) in
*v=6.0.*) channels= ;;
*) channels='&* ' ;;
esac

# write HASHES: what the server begins with next time.
write() {
    printf 'user default on%s ~* %s+@all\nuser celeriac on #%s -@all +acl|setuser\n' "$1" "$channels" \
        "$(printf %s "$admin" | sum 64)" >"$rules.new"
    mv "$rules.new" "$rules"
}

# setuser RULES: of the user that everybody is. Through a pipe, since arguments can be seen by others.
complaint=
setuser() {
    said=$(printf 'AUTH celeriac %s\nACL SETUSER default%s\n' "$admin" "$1" | redis-cli 2>&1) || true
    [ "$said" = "OK
OK" ] && return
    [ "$said" = "$complaint" ] || echo "passwords cannot be changed: $said"
    complaint=$said
    return 1
}

# Has the server take what it is to take now, and no more.
follow() {
    first "$secret/password" || return 0
    if [ "$REPLY" != "$password" ]; then
        hash=$(printf %s "$REPLY" | sum 64)
        case "$taken " in
        *" #$hash "*) ;;
        *)
            write "$taken #$hash" && setuser " #$hash" || return 0
            taken="$taken #$hash"
            echo "takes the password of its Secret, and the one before"
            ;;
        esac
        password=$REPLY
    fi
    [ "$taken" != " #$hash" ] && first "$told" && said=$REPLY && first "$secret/fingerprint-key" || return 0
    if [ "$said" = "$(printf '%s\n%s' "$REPLY" "$password" | sum 16) only" ]; then
        setuser " resetpass #$hash" && write " #$hash" || return 0
        taken=" #$hash"
        echo "takes the password of its Secret, and no other"
    fi
}

first "$secret/password"
hash=$(printf %s "$REPLY" | sum 64)
known=$(sed -n 's/^user default //p' "$rules" 2>/dev/null || true)
taken=
for word in $known; do
    case $word in
    '#'*) taken="$taken $word" ;;
    esac
done
case "$taken " in
*" #$hash "*) ;;
*) taken="$taken #$hash" ;;
esac
write "$taken"
password=$REPLY
(
    set +e
    while sleep 1; do
        follow 2>/dev/null
    done
) &
exec redis-server "$secret/redis.conf" --aclfile "$rules"
