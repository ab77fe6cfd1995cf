#!/usr/bin/env bash
# Pack everything that a machine without a connection needs to install the project.
#
#   ./launch.sh wheelhouse --out wheelhouse                                  for the Python that runs this
#   ./launch.sh wheelhouse --out wheelhouse --python 3.12 --part-size 60M    for another one, in small parts
#   ./launch.sh wheelhouse --out wheelhouse --extras cuda12 test             default: cuda13
#
# Writes, at once and only when all of it is there:
#
#   OUT/README  install.py  manifest.txt  requirements.txt  SHA256SUMS  part-000 part-001 ...
#
# The parts are one tar, split: the project's files and the wheels of the locked versions, pip among them. Equal files
# give equal parts. OUT.partial holds the downloads meanwhile, each checked against its SHA-256; the same command resumes
# from them. Needs uv, pip and GNU tar. uv and pip each take their own settings of index and certificates.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# With -m and -c, Python would import from the current directory first.
export PYTHONSAFEPATH=1
python=$(command -v "${PNEUMO_PYTHON:-python3}")
extras_known=(cuda13 cuda12 s3 test check)
project=(pyproject.toml README.md CONTRIBUTING.md CHANGELOG.md CITATION.cff SECURITY.md LICENSE launch.sh .dockerignore
    .ci .github .pre-commit-config.yaml pneumo job tests slurm k8s docker)

fail() {
    echo "wheelhouse: $1" >&2
    exit 2
}

# One tar of sorted names with nothing of this machine in its headers.
pack() {
    tar --create --file=- --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
        --exclude=__pycache__ --exclude=.pytest_cache --exclude=.env --exclude='*.dcm' --exclude='slurm/logs/[!.]*' "$@"
}

out=''
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
part_size=1G
extras=(cuda13)
while (($#)); do
    flag=$1 && shift
    case $flag in
        --out | --python | --part-size) (($#)) || fail "found $flag without a value; expected one; --help explains it" ;;&
        --out) out=$1 && shift ;;
        --python) version=$1 && shift ;;
        --part-size) part_size=$1 && shift ;;
        --extras)
            extras=()
            while (($#)) && [[ $1 != -* ]]; do extras+=("$1") && shift; done
            ;;
        -h | --help) sed -n '2,16s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit ;;
        *) fail "found $flag; expected --out, --python, --extras or --part-size; --help explains them" ;;
    esac
done
[[ -n $out ]] || fail "found no --out; expected the directory to make; add --out DIR"
[[ $version =~ ^3\.[0-9]+$ ]] || fail "found --python $version; expected a version like 3.12; correct --python"
[[ $part_size =~ ^[1-9][0-9]{0,11}[KMG]?$ ]] ||
    fail "found --part-size $part_size; expected bytes, such as 60M or 2G; correct --part-size"
for extra in "${extras[@]}"; do
    [[ " ${extras_known[*]} " == *" $extra "* ]] ||
        fail "found the extra $extra; expected some of ${extras_known[*]}; correct --extras"
done
uv=$(PATH=${python%/*}:$PATH command -v uv) || fail "found no uv; expected it on PATH; run: $python -m pip install uv"

bytes=$(numfmt --from=si "$part_size")
manifest="python $version
extras $(IFS=, && echo "${extras[*]}")
part-size $bytes
source $(pack --directory="$root" "${project[@]}" | sha256sum | cut -c -64)"
if [[ -e $out ]]; then
    [[ -f $out/manifest.txt ]] || fail "found $out, which is no wheelhouse; expected a new directory; give another --out"
    other=$(grep -vxF "$manifest" "$out/manifest.txt" | sed 's/^source .*/another state of this checkout/' | paste -sd,) || true
    [[ -z $other ]] ||
        fail "found a wheelhouse of $other in $out; expected one for these flags; give another --out or delete it"
    echo "wheelhouse: $out exists already" >&2
    exit
fi

partial=$out.partial
wheels=$partial/wheels
packed=$partial/packed
rm -rf "$packed" && mkdir -p "$wheels" "$packed"
echo "wheelhouse: resolving for CPython $version" >&2
resolve() {
    "$uv" pip compile --quiet --config-file "$root/docker/uv.toml" --python-version "$version" --generate-hashes \
        --no-header "$@" || fail "uv found no set of packages and says why; correct pyproject.toml or docker/*.txt"
}
# pip and setuptools install the checkout itself.
printf 'pip\nsetuptools\n' | resolve "$root/pyproject.toml" - "${extras[@]/#/--extra=}" \
    --constraint "$root/docker/constraints.txt" >"$packed/requirements.txt"
resolve "$root/docker/weights.txt" --no-deps >>"$packed/requirements.txt"

platforms=(manylinux_2_{5..28}_x86_64 manylinux{1,2010,2014}_x86_64 linux_x86_64)
there=$(find "$wheels" -name '*.whl' -exec sha256sum {} + | cut -c -64)
# shellcheck disable=SC2162 # without -r, read joins a requirement with the hashes on the lines below it
while read requirement; do
    if [[ -n $there ]] && grep --quiet --fixed-strings "$there" <<<"$requirement"; then continue; fi
    echo "wheelhouse: ${requirement%% *}" >&2
    echo "$requirement" >"$partial/requirement.txt"
    "$python" -m pip download --quiet --no-deps --require-hashes --only-binary=:all: --implementation=cp \
        --python-version="$version" "${platforms[@]/#/--platform=}" --dest="$wheels" \
        --requirement="$partial/requirement.txt" >&2 ||
        fail "${requirement%% *} was not downloaded, pip says why; the others are kept: start the same command again"
done <"$packed/requirements.txt"
# An earlier resolve may have left wheels that this one does not name.
for wheel in "$wheels"/*; do
    grep --quiet "$(sha256sum "$wheel" | cut -c -64)" "$packed/requirements.txt" || rm "$wheel"
done

echo "wheelhouse: packing" >&2
pack --directory="$root" "${project[@]}" --directory="$(realpath "$partial")" wheels |
    split --bytes="$bytes" --numeric-suffixes --suffix-length=3 - "$packed/part-"
cp "$root/docker/install.py" "$packed/"
echo "$manifest" >"$packed/manifest.txt"
gigabytes=$(($(cat "$packed"/part-* | wc -c) / 1000000000 + 1))
cat >"$packed/README" <<END
pneumo, everything to install it on Linux x86_64 with CPython $version, without a connection.
Extras: ${extras[*]:-none}. $(find "$wheels" -name '*.whl' | wc -l) wheels.

Copy this directory to the machine, then:

    python$version install.py TARGET

It verifies every part, unpacks the project into TARGET (an existing checkout there is kept), and installs into
TARGET/.venv. It needs Python $version with nothing installed, and about $((3 * gigabytes)) GB in TARGET. Then:

    cd TARGET && PNEUMO_PYTHON=\$PWD/.venv/bin/python ./launch.sh demo
END
sums=$(cd "$packed" && sha256sum -- *)
echo "$sums" >"$packed/SHA256SUMS"
mv "$packed" "$out"
rm -r "$partial"
echo "wheelhouse: $out is there; on the other machine: python$version install.py TARGET" >&2
