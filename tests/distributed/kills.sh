#!/bin/bash
# kills.sh MPIEXEC PROGRAM KILLS SCRATCH_DIR: trains with distributed_tests, kills one rank at random times,
# resumes with a random number of processes, and compares each finished run with a run in a single process.
# Not part of the test suite: 100 kills take several minutes.
set -uo pipefail
mpiexec=$1 program=$2 wanted=$3 scratch=$4
rm -rf "$scratch"
mkdir -p "$scratch"
cd "$scratch" || exit 1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 RETORT_NUM_THREADS=1
version=$("$mpiexec" --version 2>&1)
oversubscribe=
grep -qi "open mpi\|openrte" <<<"$version" && oversubscribe=--oversubscribe
steps=300 kills=0 runs=0 slowest=0
models=(mlp cnn transformer)
for model in "${models[@]}"; do "$program" train "$model" $steps >"expected-$model" || exit 1; done

checkpoint() { readlink "$1/last.safetensors" 2>/dev/null; }
finish() {  # finish MODEL FOLDER: compares the output of the last job
  # A job that was killed after its last step has no gradients when it is resumed.
  if ! diff <(sed 's/, gradients .*//' "expected-$1") <(sed 's/, gradients .*//' got); then
    echo "FAILED: $1 ends otherwise after $kills kills"
    exit 1
  fi
  runs=$((runs + 1))
  rm -rf "$2"
}

while [ $kills -lt "$wanted" ]; do
  model=${models[runs % 3]} folder=$scratch/run ranks=$((RANDOM % 4 + 1))
  [ $ranks -eq 1 ] && ranks=8
  before=$(checkpoint "$folder")
  timeout 300 "$mpiexec" $oversubscribe -n $ranks "$program" train "$model" $steps "$folder" >got 2>errors &
  job=$!
  # Kills at a random time after the first checkpoint of this start.
  while kill -0 $job 2>/dev/null && [ "$(checkpoint "$folder")" = "$before" ]; do sleep 0.01; done
  sleep "0.$((RANDOM % 6))$((RANDOM % 10))"
  victim=$((RANDOM % ranks))
  for process in $(pgrep -f -- "train $model $steps $folder"); do
    environment=$(tr '\0' '\n' 2>/dev/null <"/proc/$process/environ")
    grep -Eq "^(OMPI_COMM_WORLD_RANK|PMI_RANK)=$victim$" <<<"$environment" && kill -KILL "$process" 2>/dev/null
  done
  start=$(date +%s%N)
  wait $job
  status=$?
  took=$((($(date +%s%N) - start) / 1000000))
  if [ $status -eq 0 ]; then
    finish "$model" "$folder"
    continue
  fi
  [ $status -ne 124 ] || { echo "FAILED: a job hangs"; exit 1; }
  kills=$((kills + 1))
  [ $took -le $slowest ] || slowest=$took
  echo "kill $kills: rank $victim of $ranks, $model, after $(checkpoint "$folder"); ended in $took ms"
  [ $took -le 10000 ] || { echo "FAILED: a job ended $took ms after the kill"; exit 1; }
  if [ $((kills % 4)) -eq 0 ] || [ $kills -eq "$wanted" ]; then  # finishes the run without kills
    ranks=$((RANDOM % 4 + 1))
    timeout 300 "$mpiexec" $oversubscribe -n $ranks "$program" train "$model" $steps "$folder" >got 2>errors ||
      { cat errors; exit 1; }
    finish "$model" "$folder"
  fi
done
echo "$kills kills, $runs finished runs with the bits of an undisturbed one; the slowest job ended $slowest ms after its kill"
