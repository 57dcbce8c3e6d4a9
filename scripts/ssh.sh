#!/usr/bin/env bash
# scripts/ssh.sh CONFIG [--set a.b=c ...]: fits over machines that this one reaches by SSH without a password.
# Each needs this folder under the same path, as where home directories are shared, or an environment of its own with
# dask-em of the same version (cluster.kwargs.remote_python).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_environment"
environment ssh
exec "$root/.venv/bin/dask-em" fit "$@"
