#!/usr/bin/env bash
# scripts/mpi.sh CONFIG [--set a.b=c ...]: fits over the ranks of mpirun: a scheduler, the driver, and workers.
# In a job of Slurm, PBS or LSF, mpirun starts them on the job's machines. MPIRUN says how: MPIRUN='mpirun -n 34' or
# MPIRUN='srun --mpi=pmix'.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_environment"
environment mpi
read -ra start <<<"${MPIRUN:-mpirun -n 4}"
exec "${start[@]}" "$root/.venv/bin/dask-em" fit "$@"
