#!/usr/bin/env bash
# Installs the Debian packages of system-packages.txt that are missing. Where that cannot be done (no
# root, no apt) it says so and goes on: the tests that need them are then skipped, and say why.
set -euo pipefail
cd "$(dirname "$0")"
# azurite, which stands in for Azure; its version is in package.json.
if [ ! -x remote/node_modules/.bin/azurite-blob ]; then
    if command -v npm >/dev/null; then
        npm install --prefix remote --no-package-lock --no-audit --no-fund --silent ||
            echo "azurite could not be installed, so the tests of Azure will be skipped" >&2
    else
        echo "npm is not installed, so the tests of Azure will be skipped" >&2
    fi
fi
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
# No services are started: the tests start their own. A policy that is there already is kept.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
