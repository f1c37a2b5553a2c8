#!/usr/bin/env bash
# Makes the hosts' image unless podman has it: ensure.sh TAG RECIPE. Prints "built" or "cached".
# The tag contains the hash of all inputs, so an image of that name is never out of date.
set -euo pipefail
tag=$1 recipe=$2
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

if podman image exists "$tag"; then
    echo cached
    exit 0
fi
# Unnamed images are left over from interrupted builds.
podman image prune --force --filter label=pgcrucible.image=host >/dev/null

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
if command -v mmdebstrap >/dev/null; then
    # Imported without a name: an image is named only after its build has succeeded.
    "$here/build.sh" "$recipe" |
        podman import --quiet --change 'CMD ["/sbin/init"]' --change 'STOPSIGNAL SIGRTMIN+3' \
            --change 'LABEL pgcrucible.image=host' - >"$context/id"
    podman tag "$(cat "$context/id")" "$tag"
else
    cp -r "$recipe/." "$here/customize.sh" "$here/sshd.conf" "$context/"
    podman build --quiet --label pgcrucible.image=host --tag "$tag" --file "$here/Containerfile" "$context" >&2
fi
echo built
