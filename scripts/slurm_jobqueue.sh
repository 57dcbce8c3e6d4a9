#!/usr/bin/env bash
# scripts/slurm_jobqueue.sh CONFIG [--set a.b=c ...]: a small job that drives the fit and asks for workers, which are jobs
# of their own (cluster: {kind: slurm ..} in CONFIG). Before its time is up it stops the fit, which keeps a checkpoint, and
# submits itself again to go on from there, until the fit is done.
# Run it where jobs are submitted: it installs what is missing and submits itself.
# Edit the lines below (SBATCH_ variables would count for the jobs of the workers too).
#SBATCH --job-name=dask-em-driver
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --no-requeue
##SBATCH --account=project
##SBATCH --partition=compute
# --signal: so many seconds before the time is up. --no-requeue: a job that begins anew would begin the fit anew.
set -euo pipefail

if [ -z "${SLURM_JOB_ID:-}" ]; then
    source "$(dirname "${BASH_SOURCE[0]}")/_environment"
    provide jobqueue
    exec sbatch "${BASH_SOURCE[0]}" "$@"
fi

said=$(mktemp)
dask-em fit "$@" 2>"$said" &
fit=$!
tail --pid="$fit" -n +1 -f "$said" >&2 &

ending=
trap 'ending=go-on; kill -TERM "$fit" || true' USR1
trap 'ending=stop; kill -TERM "$fit" || true' TERM # scancel
status=0
wait "$fit" || status=$?
if [ -n "$ending" ]; then # the signal has ended the wait, and the fit ends now
    status=0
    wait "$fit" || status=$?
fi

if [ "$ending" = go-on ] && [ "$status" = 143 ]; then
    if grep -q -e '--resume$' "$said" && [[ " $* " != *" --resume "* ]]; then # it says so where there is a checkpoint
        set -- "$@" --resume
    fi
    sbatch "$0" "$@"
    status=0
fi
wait
rm -f "$said"
exit "$status"
