#!/bin/sh
# For Slurm's Epilog (slurm.conf: Epilog=): the job has ended, its GPUs are free. See prolog.sh.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
folder=${GPUTALLY_SLURM_JOBS:-/run/gputally/jobs}
rm -f "$folder/$SLURM_JOB_ID" "$folder/.$SLURM_JOB_ID"
exit 0
