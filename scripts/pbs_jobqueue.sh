#!/usr/bin/env bash
# scripts/pbs_jobqueue.sh CONFIG [--set a.b=c ...]: a small job that drives the fit and asks for workers, which are jobs of
# their own (cluster: {kind: pbs ..} in CONFIG). Before its time is up it stops the fit, which keeps a checkpoint, and
# submits itself again to go on from there, until the fit is done.
# Run it where jobs are submitted: it installs what is missing and submits itself. Edit the lines below.
#PBS -N dask-em-driver
#PBS -l select=1:ncpus=1:mem=4GB
#PBS -l walltime=24:00:00
#PBS -r n
##PBS -A project
##PBS -q workq
# -r n: a job that begins anew would begin the fit anew.
minutes=${MINUTES:-1430} # some less than the walltime above
set -euo pipefail

submit() { # not every PBS hands arguments to a script: they go by the environment
    DASK_EM_FIT=$(printf '%q ' "$@") qsub -V "$script"
}

script=${BASH_SOURCE[0]}
if [ -z "${DASK_EM_FIT:-}" ]; then
    source "$(dirname "$script")/_environment"
    provide jobqueue
    submit "$@"
    exit
fi

cd "${PBS_O_WORKDIR:-$PWD}"
eval "set -- $DASK_EM_FIT"
said=$(mktemp)
timeout "${minutes}m" dask-em fit "$@" 2>"$said" &
fit=$!
tail --pid="$fit" -n +1 -f "$said" >&2 &
status=0
wait "$fit" || status=$?

if [ "$status" = 124 ]; then # the time was up
    if grep -q -e '--resume$' "$said" && [[ " $* " != *" --resume "* ]]; then # it says so where there is a checkpoint
        set -- "$@" --resume
    fi
    submit "$@"
    status=0
fi
wait
rm -f "$said"
exit "$status"
