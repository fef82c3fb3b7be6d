#!/bin/sh
# For Slurm's Prolog (slurm.conf: Prolog=, with PrologFlags=Alloc): tells gputally-agent whose a job is and which GPUs
# it was given. It runs as root on each node of the job, before the job does; nobody else may write to the folder.
# A Prolog that fails drains the node, so this one never does: a job without a file is billed by its processes.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
folder=${GPUTALLY_SLURM_JOBS:-/run/gputally/jobs}
gpus=$SLURM_JOB_GPUS
# With AutoDetect Slurm knows MIG devices by their UUIDs, and says so here; their numbers mean nothing to the driver.
case $gpus:$CUDA_VISIBLE_DEVICES in ?*:GPU-* | ?*:MIG-*) gpus=$CUDA_VISIBLE_DEVICES ;; esac
umask 022
mkdir -p "$folder" || exit 0
cat > "$folder/.$SLURM_JOB_ID" <<JOB || exit 0
SLURM_JOB_ID=$SLURM_JOB_ID
SLURM_JOB_UID=$SLURM_JOB_UID
SLURM_JOB_USER=$SLURM_JOB_USER
SLURM_JOB_GPUS=$gpus
JOB
mv -f "$folder/.$SLURM_JOB_ID" "$folder/$SLURM_JOB_ID"
exit 0
