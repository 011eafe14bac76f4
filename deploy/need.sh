# Sourced by deploy/quickstart and tests/run: gets what is missing onto this machine, and says so.
# shellcheck shell=bash

# What both programs call their cache: everything they build, download or install without root lies here.
cache_folder() {
    printf '%s\n' "${CELERIAC_CACHE:-${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/celeriac}"
}

say() {
    printf '==> %s\n' "$*"
}

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "this needs root and there is no sudo: $*"
    fi
}

# need_program PROGRAM APT DNF APK BREW: installs the package of that package manager unless the program is there.
need_program() {
    local program=$1 apt=$2 dnf=$3 apk=$4 brew=$5
    command -v "$program" >/dev/null && return
    if command -v apt-get >/dev/null; then
        say "installing $apt (apt-get), for $program"
        # An index that lacks the package is usually one that was never fetched.
        if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "$apt" >/dev/null 2>&1; then
            as_root apt-get update -qq
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "$apt" >/dev/null
        fi
    elif command -v dnf >/dev/null; then
        say "installing $dnf (dnf), for $program"
        as_root dnf install -q -y "$dnf"
    elif command -v apk >/dev/null; then
        say "installing $apk (apk), for $program"
        as_root apk add --quiet "$apk"
    elif command -v brew >/dev/null; then
        say "installing $brew (brew), for $program"
        brew install --quiet "$brew"
    else
        fail "$program is missing and none of apt-get, dnf, apk, brew is here: install it and come back"
    fi
    hash -r
    command -v "$program" >/dev/null || fail "$program is still missing after the installation"
}

# Debian starts a service as it installs it. Nobody can depend on one that was not there a moment ago, so it is stopped.
need_redis() {
    command -v redis-server >/dev/null && return
    need_program redis-server redis-server redis redis redis
    if command -v systemctl >/dev/null && systemctl is-active --quiet redis-server 2>/dev/null; then
        say "stopping the redis-server service that the package started"
        as_root systemctl disable --quiet --now redis-server
    fi
}

# Debian's package makes a service and starts it, unless a policy forbids that for the time of the installation. A policy
# that is there already stays, and a service that was there before is not touched.
need_rabbitmq() {
    [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] && return
    command -v apt-get >/dev/null ||
        fail "RabbitMQ is missing and only Debian's package is known to work: install rabbitmq-server 3.10 or newer"
    local policy=/usr/sbin/policy-rc.d made='' status=0
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod +x "$policy"
        made=yes
    fi
    (PATH=$PATH:/usr/sbin need_program rabbitmq-server rabbitmq-server rabbitmq-server rabbitmq-server rabbitmq) || status=$?
    [ -z "$made" ] || as_root rm -f "$policy"
    [ "$status" = 0 ] || return "$status"
    if command -v systemctl >/dev/null && systemctl is-enabled --quiet rabbitmq-server 2>/dev/null; then
        as_root systemctl disable --quiet rabbitmq-server
    fi
}

# debian_mirror: from where this Debian's own packages come.
debian_mirror() {
    local codename targets
    codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
    # shellcheck disable=SC2016 # apt-get expands it
    targets=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages') || return 1
    printf '%s\n' "$targets" | awk -v name="$codename" '$1 == name && !found { print $2; found = 1 }'
}

# private_apt FOLDER SUITE...: fills `apt`, the options by which apt-get looks for packages in these suites of Debian and keeps
# what it gets in FOLDER, so that sources, lists and packages of the system stay as they are. For it nothing is installed.
private_apt() {
    local work=$1 mirror suite
    shift
    mirror=$(debian_mirror)
    [ -n "$mirror" ] || fail "apt-get names no Debian to get packages from"
    mkdir -p "$work/lists/partial" "$work/archives/partial" || return 1
    : >"$work/status"
    for suite in "$@"; do
        printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$mirror" "$suite"
    done >"$work/sources.list"
    apt=(-qq -y -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null -o "Dir::State::status=$work/status"
        -o "Dir::State::lists=$work/lists" -o "Dir::Cache::archives=$work/archives" -o Dir::Cache::pkgcache=
        -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root)
}

# Valkey 8 for tests, into the cache: Debian has it since 13, and its backports for 12.
need_valkey() {
    local folder apt work codename package
    folder=$(cache_folder)/valkey
    if command -v valkey-server >/dev/null || [ -x "$folder/usr/bin/valkey-server" ]; then return; fi
    command -v apt-get >/dev/null || fail "Valkey is missing and there is no apt-get: install valkey-server 8 or newer"
    say "getting valkey-server (apt-get download) into $folder"
    work=$(mktemp -d)
    codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
    # Older Debian: its backports, from where the rest comes from.
    private_apt "$work" "$codename" "$codename-backports"
    if (cd "$work" && apt-get "${apt[@]}" update &&
        apt-get "${apt[@]}" download valkey-server valkey-tools) >"$work/log" 2>&1; then
        mkdir -p "$folder.new"
        for package in "$work"/*.deb; do dpkg -x "$package" "$folder.new"; done
        rm -rf "$folder"
        mv "$folder.new" "$folder"
    else
        cat "$work/log" >&2
    fi
    rm -rf "$work"
    "$folder/usr/bin/valkey-server" --version >/dev/null ||
        fail "valkey-server could not be had from Debian's sources"
}

# RabbitMQ 4 for tests, with the newer Erlang and C library that it needs, into the cache: the packages of Debian 13, unpacked
# into a root folder of their own. Their scripts are not run: the server needs nothing that they make, and is run by tests in
# a chroot (tests/src/rabbitmq/enter.sh).
need_rabbitmq4() {
    local folder apt work package
    folder=$(cache_folder)/rabbitmq4
    [ ! -e "$folder/etc/hosts" ] || return 0
    command -v apt-get >/dev/null || fail "RabbitMQ 4 is missing and there is no apt-get: only Debian's packages are known to work"
    say "getting RabbitMQ 4 and its Erlang (apt-get download, 70 MB) into $folder (200 MB)"
    work=$(mktemp -d)
    private_apt "$work" trixie
    if (apt-get "${apt[@]}" update &&
        apt-get "${apt[@]}" --download-only --no-install-recommends install rabbitmq-server \
            base-files bash coreutils dash gawk grep hostname libc-bin sed util-linux) >"$work/log" 2>&1; then
        rm -rf "$folder" "$folder.new"
        mkdir -p "$folder.new"
        # First what says that /bin is /usr/bin.
        for package in "$work"/archives/base-files_*.deb "$work"/archives/*.deb; do
            dpkg -x "$package" "$folder.new" || return 1
        done
        mv "$folder.new" "$folder"
        # Last, so that what was cut off is not taken for a whole one. The node's name is looked up here.
        printf '127.0.0.1 localhost\n' >"$folder/etc/hosts"
    else
        cat "$work/log" >&2
    fi
    rm -rf "$work"
    [ -e "$folder/etc/hosts" ] || fail "RabbitMQ 4 could not be had from Debian's sources"
}

need_python() {
    need_program python3 python3 python3 python3 python3
    # Debian packs the part that makes environments apart.
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        say "installing python3-venv, for Python environments"
        if command -v apt-get >/dev/null; then
            as_root apt-get install -qq -y python3-venv >/dev/null
        else
            fail "python3 cannot make environments: install its venv module"
        fi
    fi
}

# need_environment FOLDER REQUIREMENTS: a Python environment with these requirements (a file), made anew when they change.
need_environment() {
    local folder=$1 requirements=$2
    if [ -x "$folder/bin/python" ] && cmp -s "$requirements" "$folder/requirements.txt"; then
        return
    fi
    need_python || return 1
    say "making a Python environment in $folder"
    rm -rf "$folder"
    python3 -m venv "$folder" || return 1
    "$folder/bin/pip" install --quiet --disable-pip-version-check -r "$requirements" || return 1
    # Last, so that an installation that was cut off is not taken for a whole one.
    cp "$requirements" "$folder/requirements.txt"
}

need_rust() {
    command -v cargo >/dev/null || fail "cargo is missing: install Rust from https://rustup.rs and come back"
    # Two C libraries are compiled in: SQLite and the primitives of ring.
    need_program cc build-essential gcc build-base gcc
}

# need_go VERSION: a Go of at least that version on the PATH; Debian's own may be older, and others lie beside it.
need_go() {
    local wanted=$1 folder found
    for folder in '' /usr/local/go/bin /usr/lib/go-*/bin; do
        found=$(PATH=${folder:+$folder:}$PATH go env GOVERSION 2>/dev/null) || continue
        found=${found#go}
        if [ "$(printf '%s\n' "$wanted" "${found%% *}" | sort -V | head -n 1)" = "$wanted" ]; then
            PATH=${folder:+$folder:}$PATH
            return
        fi
    done
    fail "Go $wanted or newer is needed to build Kubernetes: install it and come back"
}

# need_helm VERSION FOLDER: the program helm of that version in FOLDER/bin, built from its Go module.
need_helm() {
    local version=$1 folder=$2
    # A build of a module does not know its own version.
    [ "$(cat "$folder/helm.version" 2>/dev/null)" != "$version" ] || [ ! -x "$folder/bin/helm" ] || return 0
    need_go 1.26 || return 1
    say "building helm $version into $folder (about five minutes on two cores, once)"
    GOBIN=$folder/bin CGO_ENABLED=0 go install -trimpath -ldflags '-s -w' "helm.sh/helm/v4/cmd/helm@$version" || return 1
    # Last, so that a build that was cut off is not taken for a whole one.
    printf '%s\n' "$version" >"$folder/helm.version"
}

# need_kube SOURCES: a Kubernetes control plane of those sources (tests/controlplane) in the cache folder, made anew when they
# change; nothing where KUBEBUILDER_ASSETS names one.
need_kube() {
    local sources=$1 folder version stamp=k8s.io/component-base/version file making
    [ -z "${KUBEBUILDER_ASSETS:-}" ] || return 0
    folder=$(cache_folder)/kube
    for file in go.mod go.sum main.go; do
        cmp -s "$sources/$file" "$folder/$file" || making=yes
    done
    [ -n "${making:-}" ] || return 0
    need_go "$(awk '$1 == "go" { print $2 }' "$sources/go.mod")" || return 1
    version=$(awk '$1 == "k8s.io/kubernetes" { print $2; exit }' "$sources/go.mod")
    say "building Kubernetes $version into $folder (about ten minutes on two cores, once)"
    mkdir -p "$folder" || return 1
    # Unstamped, the server would call itself v0.0.0, and what asks for its version would not believe it.
    (cd "$sources" && CGO_ENABLED=0 go build -trimpath -mod=readonly -o "$folder/controlplane.$$" -ldflags "-s -w \
        -X $stamp.gitVersion=$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=$(cut -d. -f2 <<<"$version")" .) || return 1
    mv "$folder/controlplane.$$" "$folder/controlplane" || return 1
    for file in etcd kube-apiserver kube-controller-manager kube-scheduler kubectl; do
        ln -sf controlplane "$folder/$file" || return 1
    done
    # Last, so that a build that was cut off is not taken for a whole one.
    cp "$sources"/{go.mod,go.sum,main.go} "$folder"
}
