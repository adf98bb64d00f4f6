# shellcheck shell=bash
# Sourced by `x`, `.ci/run` and the scripts beside this file: the variables they agree on, and the words they share.

export CARGO_HOME=${CARGO_HOME:-$HOME/.cargo}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/aerostack/target}

# The crates that have a behaviour suite for their drivers, as cargo names the feature that builds it; for the AI binding also what
# the suite and the unit tests need, which a build without V8 does not get from anybody else.
suites=(
  aerostack-ai/candle aerostack-ai/conformance aerostack-ai/hub aerostack-ai/openai
  aerostack-cache/conformance
  aerostack-database/conformance
  aerostack-queue/conformance
  aerostack-storage/conformance
  aerostack-vectorize/conformance
)
AEROSTACK_DRIVER_SUITES=$(IFS=,; echo "${suites[*]}")
export AEROSTACK_DRIVER_SUITES

# rustup installs into a folder that a shell started earlier does not search yet.
case ":$PATH:" in
  *":$CARGO_HOME/bin:"*) ;;
  *) export PATH="$CARGO_HOME/bin:$PATH" ;;
esac

# What the scripts say goes to standard error: standard output is for data.
say() { printf '%s\n' "x: $*" >&2; }

# Ends the calling script, with every argument a line of its own.
fail() {
  printf '%s\n' "x: $1" >&2
  shift
  [ $# -eq 0 ] || printf '   %s\n' "$@" >&2
  exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# Installs Debian packages where this user may; otherwise says which ones to ask for.
apt_install() {
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo --non-interactive)
    if ! has sudo || ! sudo --non-interactive true 2>/dev/null; then
      fail "these Debian packages are missing, and installing them needs root: $*" \
        "run as root: apt-get install --no-install-recommends $*"
    fi
  fi
  has apt-get || fail "these are missing, and this system has no apt-get to install them with: $*" \
    "install them the way your system does, then run ./x again"
  say "installing with apt-get: $*"
  "${as_root[@]}" apt-get update --quiet=2 >&2
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends "$@" >&2
}

# The version that Cargo.lock holds a crate at.
locked_version() {
  awk -v crate="$1" '$1 == "name" { named = ($3 == "\"" crate "\"") } named && $1 == "version" { gsub(/"/, "", $3); print $3; exit }' \
    Cargo.lock
}
