#!/usr/bin/env bash
# scripts/slurm_allocation.sh CONFIG [--set a.b=c ...] [--resume]: one job with all in it: scheduler, workers and the fit.
# Run it where jobs are submitted: it installs what is missing and submits itself. Within salloc it begins at once.
# Edit the lines below, or say the same by SBATCH_ACCOUNT, SBATCH_PARTITION, SBATCH_TIMELIMIT.
#SBATCH --job-name=dask-em
#SBATCH --ntasks=4
#SBATCH --cpus-per-task=1
#SBATCH --mem-per-cpu=4G
#SBATCH --time=04:00:00
##SBATCH --account=project
##SBATCH --partition=compute
set -euo pipefail

if [ -z "${SLURM_JOB_ID:-}" ]; then
    source "$(dirname "${BASH_SOURCE[0]}")/_environment"
    provide
    exec sbatch "${BASH_SOURCE[0]}" "$@"
fi

interface=${INTERFACE:-} # the network between nodes, such as ib0; empty: the one that leads out of the node
found=$PWD/.dask-em-$SLURM_JOB_ID.json # how workers and fit find the scheduler: this folder is seen by all nodes
log=$PWD/dask-em-$SLURM_JOB_ID.log
bin=$(dirname "$(command -v dask-em)")
if [ -n "$interface" ]; then
    here=(--interface "$interface") there=(--interface "$interface")
else
    here=(--host "$("$bin/python" -c 'from distributed.utils import get_ip; print(get_ip())')") there=()
fi
# What does not fit is read again, which costs less than writing it to a disk and reading it from there.
export DASK_DISTRIBUTED__WORKER__MEMORY__TARGET=False DASK_DISTRIBUTED__WORKER__MEMORY__SPILL=False

end() {
    kill $(jobs -p) 2>/dev/null || true
    wait
    rm -f "$found"
}
trap end EXIT

"$bin/dask" scheduler --scheduler-file "$found" --port 0 --dashboard-address 127.0.0.1:0 "${here[@]}" >>"$log" 2>&1 &
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" "$bin/dask" worker --scheduler-file "$found" --death-timeout 300 \
    --nthreads "$SLURM_CPUS_PER_TASK" --memory-limit "$((SLURM_CPUS_PER_TASK * SLURM_MEM_PER_CPU))MiB" \
    --dashboard-address 127.0.0.1:0 "${there[@]}" >>"$log" 2>&1 &

dask-em fit "$@" --set "cluster.scheduler_file=$found"
