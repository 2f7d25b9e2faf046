#!/usr/bin/env bash
# Installs the Debian packages of system-packages.txt that are missing. Where that cannot be done (no
# root, no apt) it says so and goes on: the tests that need them are then skipped, and say why.
set -euo pipefail
cd "$(dirname "$0")"
missing=()
while read -r package _; do
    case "$package" in '' | '#'*) continue ;; esac
    dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
        missing+=("$package")
done <system-packages.txt
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    echo "not installed, so some tests will be skipped: ${missing[*]}" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# No services are started: the tests start their own.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d
trap 'rm -f /usr/sbin/policy-rc.d' EXIT
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
