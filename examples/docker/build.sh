#!/usr/bin/env bash
# Builds the images of actions, once: each has a tag that is the digest of all that went in, and what is there stays.
#
#   ./build.sh                          needs no registry: the base is made of Debian packages, where apt finds them
#                                       (as root or with user namespaces; needs mmdebstrap)
#   ./build.sh debian:bookworm-slim     on a base that the engine has or can pull
#
# DOCKER=podman builds with podman; DOCKER_HOST says which engine. Standard output has a line for each image: its name,
# the tag that never means another image, and the one that a runtimes manifest would name.
set -euo pipefail
shopt -s nullglob
export LC_ALL=C # the order of files is part of the digest
cd "$(dirname "$0")"
exec 9<build.sh && flock 9 # whoever comes second finds everything done

docker=${DOCKER:-docker}
proxies=../../plugins/runtime_process/invoker_process/proxies
packages=ca-certificates,nodejs,python3,tini,tzdata,usr-is-merged
given=${1:-}
# shellcheck disable=SC1091
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
system="$codename $(uname -m)"

digest() { # FILE...
    { echo "$given $system" && cat build.sh "$@"; } | sha256sum | cut -c1-12
}
digest=$(digest images/Dockerfile images/*/{Dockerfile,*.py,*.js} "$proxies"/*.{py,js})

there() { "$docker" image inspect "$@" >/dev/null 2>&1; }

# Debian's own repositories, from this machine's apt.
sources() {
    # shellcheck disable=SC1091,SC2016
    . /etc/os-release && apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' | awk -v origin="$ID" 'tolower($1) == origin { print "deb", $2, $3, $4 }' | sort -u
}

# A root file system with what actions need and nothing that only people read: 20 s, 190 MB.
from_packages() {
    local list
    list=$(mktemp) && sources >"$list"
    [ -s "$list" ] || { echo "apt knows no repository of this system: run apt-get update" >&2 && return 1; }
    mmdebstrap --quiet --variant=essential --include="$packages" \
        --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        "$codename" - "$list" 2>"$list.log" || { cat "$list.log" >&2 && return 1; }
    rm "$list" "$list.log"
}

build() { # NAME ARGUMENT...
    local said
    said=$("$docker" build -t "functions-invoker/$1:$digest" "${@:2}" 2>&1) || { echo "$said" >&2 && return 1; }
}

ask() { # PROGRAM ARGUMENT... in the image that has both
    "$docker" run --rm --network none --entrypoint "$1" "functions-invoker/proxies:$digest" "${@:2}"
}

all() {
    local base=$given common=() python nodejs
    if [ -z "$base" ]; then
        base=functions-invoker/base:$(digest)
        common=(--network none) # everything is in the base
        if ! there "$base"; then
            from_packages | "$docker" import - functions-invoker/base:unfinished >/dev/null
            "$docker" tag functions-invoker/base:unfinished "$base"
            "$docker" rmi functions-invoker/base:unfinished >/dev/null
        fi
    fi
    common+=(--build-arg "BASE=$base" -f images/Dockerfile "$proxies")
    build proxies --target proxies "${common[@]}"
    python=$(ask python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    nodejs=$(ask node -p 'process.versions.node.split(".")[0]')
    build python --target python --build-arg "PYTHON=$python" "${common[@]}"
    build nodejs --target nodejs --build-arg "NODEJS=$nodejs" "${common[@]}"
    build layout-nodejs --network none --build-arg "BASE=functions-invoker/nodejs:$digest" images/layout-nodejs
    build actionloop --network none --build-arg "BASE=functions-invoker/python:$digest" images/actionloop
}

names=(python nodejs layout-nodejs actionloop)
references=("${names[@]/#/functions-invoker/}")
there "${references[@]/%/:$digest}" || all

for name in "${names[@]}"; do
    image=functions-invoker/$name:$digest
    tag=latest
    case $name in python | nodejs)
        tag=$("$docker" image inspect -f '{{index .Config.Labels "functions-invoker.kind"}}' "$image")
        tag=${tag#*:} tag=${tag%%.*} ;;
    esac
    "$docker" tag "$image" "functions-invoker/$name:$tag"
    echo "$name $image functions-invoker/$name:$tag"
done
