#!/bin/bash
# check.sh MPIEXEC PROGRAM CASE SCRATCH_DIR [DATA]: runs a case of the program as one process and under MPIEXEC, and
# compares the results.
set -uo pipefail
mpiexec=$1 program=$2 case=$3 scratch=$4 data=${5-}
rm -rf "$scratch"
mkdir -p "$scratch"
cd "$scratch" || exit 1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 RETORT_NUM_THREADS=1
version=$("$mpiexec" --version 2>&1)  # no pipe: grep -q would end mpiexec at the first match
oversubscribe=
grep -qi "open mpi\|openrte" <<<"$version" && oversubscribe=--oversubscribe

limit=60
mpi() {  # mpi N ARGUMENT...: ends within $limit seconds
  local n=$1
  shift
  timeout --kill-after=5 $limit "$mpiexec" $oversubscribe -n "$n" "$program" "$@"
}
fail() {
  echo "FAILED: $*"
  exit 1
}

idx() {  # idx FILE COUNT SEED: images of 4 × 4 pixels in three classes, and their labels
  local bytes
  bytes=$(awk -v n="$2" -v state="$3" 'BEGIN {
    for (i = 0; i < n * 16; ++i) {
      state = (state * 75 + 74) % 65537
      printf "\\%03o", state % 160 + (int(i % 16 / 5) == int(i / 16) % 3) * 60
    }
  }')
  printf "$(printf '\\0\\0\\010\\003\\0\\0\\%03o\\%03o\\0\\0\\0\\004\\0\\0\\0\\004' $(($2 / 256)) $(($2 % 256)))$bytes" \
    >"data/$1-images-idx3-ubyte"
  bytes=$(awk -v n="$2" 'BEGIN { for (i = 0; i < n; ++i) printf "\\%03o", i % 3 }')
  printf "$(printf '\\0\\0\\010\\001\\0\\0\\%03o\\%03o' $(($2 / 256)) $(($2 % 256)))$bytes" \
    >"data/$1-labels-idx1-ubyte"
}

same_for_all_numbers() {  # same_for_all_numbers ARGUMENT...
  "$program" "$@" >expected || fail "one process without mpiexec"
  cat expected
  for shared in 1 0; do  # within one machine, and as between machines
    for n in 1 2 3 4 8; do
      RETORT_SHARED_MEMORY=$shared mpi $n "$@" >got || fail "$n processes, shared memory: $shared"
      diff expected got || fail "$n processes give another result, shared memory: $shared"
    done
  done
}

# fails_with TEXT N ARGUMENT...: the job must fail within the time limit and print a line that contains TEXT.
fails_with() {
  local text=$1 n=$2 start=$SECONDS
  shift 2
  mpi "$n" "$@" >got 2>&1
  local status=$?
  echo "== $* on $n: status $status after $((SECONDS - start)) s: $(grep -m 1 -F "$text" got)"
  [ $status -ne 0 ] && [ $status -ne 124 ] && [ $((SECONDS - start)) -le 30 ] && grep -qF "$text" got ||
    { cat got; fail "$* on $n"; }
}

case $case in
  collectives) same_for_all_numbers collectives ;;
  mlp | cnn | transformer) same_for_all_numbers train "$case" 20 ;;
  checkpoint)  # a run resumed on changing numbers of processes ends like an uninterrupted one
    for model in mlp cnn; do
      "$program" train $model 25 >expected || fail "one process"
      rm -rf run
      mpi 2 train $model 5 run >/dev/null && mpi 3 train $model 15 run >/dev/null &&
        "$program" train $model 20 run >/dev/null && mpi 4 train $model 25 run >got || fail "resuming"
      diff expected got || fail "another result after resuming"
    done
    ;;
  interrupt)  # SIGTERM on one rank stops all after the same step
    "$program" train mlp 25 >expected || fail "one process"
    mpi 3 train mlp 25 interrupt 1 7 >got || fail "stopping"
    sort got
    [ "$(grep -c "of 3 stops after step 7" got)" -eq 3 ] || fail "not all ranks stopped after step 7"
    mpi 2 train mlp 25 interrupt >got || fail "resuming"
    diff expected got || fail "another result after resuming"
    ;;
  kill)  # kill -9 of one rank ends the job; the next start resumes
    "$program" train mlp 25 >expected || fail "one process"
    for at in 3 8 22; do
      start=$SECONDS
      mpi 3 train mlp 25 run $((at % 3)) $at >got 2>&1 && fail "a job that lost a rank succeeded"
      [ $((SECONDS - start)) -le 10 ] || fail "the job took $((SECONDS - start)) s to end"
    done
    mpi 4 train mlp 25 run >got || fail "resuming"
    diff expected got || fail "another result after kills"
    ;;
  training)  # a RunFolder that only rank 0 can use, for each number of processes and after signals
    files() { (cd "$1" && sha256sum settings.json ./*.jsonl ./*.safetensors && ls); }
    for shards in 0 4; do  # each process computes all, or its shards
      rm -rf one
      numbers="1 2 3 4 8"
      [ $shards -gt 0 ] || numbers=2
      "$program" training one $shards >expected 2>/dev/null || fail "one process"
      cat expected
      for n in $numbers; do
        rm -rf many
        mpi $n training many $shards >got 2>errors && diff expected got && diff <(files one) <(files many) ||
          { cat errors; fail "$n processes, $shards shards"; }
        [ "$(grep -c "^mlp .*/7  loss" errors)" -eq 7 ] || fail "progress of $n processes"
      done
      mpi 3 training one $shards >got && diff expected got || fail "a finished training on 3 processes"
    done
    for at in 3 8 17; do
      mpi 3 training interrupt 4 $((at % 3)) $at >got 2>/dev/null
      [ $? -ne 0 ] && [ "$(grep -c "of 3: .* stopped after $((at + 1)) steps" got)" -eq 3 ] ||
        { cat got; fail "not all ranks stopped after step $at"; }
      mpi 2 training run 4 $((at % 2)) $at >/dev/null 2>&1 && fail "a job that lost a rank succeeded"
    done
    mpi 4 training interrupt 4 >got && diff expected got || fail "resuming after SIGTERM"
    "$program" training run 4 >got && diff expected got || fail "resuming after SIGKILL"
    for resumed in run interrupt; do diff <(files one) <(files $resumed) || fail "other files in $resumed"; done
    fails_with "holds a run with other settings (\"shards\" is 4 there, 2 now)" 3 training one 2
    fails_with "RunFolder: /proc/none: cannot be created" 2 training /proc/none 2
    flock one sleep 10 &
    fails_with "another run is writing to" 2 training one 4
    kill $!
    fails_with "rank 1 has the loss" 2 training other 0 -1 0 loss
    for shards in 0 4; do  # each mistake is found also where the process that makes it computes all
      rm -rf other
      fails_with "rank 1 destroys its Communicator, but rank 0" 2 training other $shards -1 0 early
      rm -rf other
      fails_with "all ranks must make the same calls in the same order" 2 training other $shards -1 0 epochs
    done
    rm -rf other
    fails_with "every rank must make the same updates" 2 training other 4 -1 0 rate
    fails_with "different settings (\"shards\" is 4 on rank 0, 5 on rank 1)" 2 training third 4 -1 0 settings
    [ ! -e third ] || fail "a folder was made for ranks with different settings"
    ;;
  failures)
    fails_with "distributed_tests: this shard cannot be computed" 2 exception
    fails_with "distributed_tests: this shard cannot be computed" 4 exception
    fails_with "rank 2 of 3: this shard cannot be computed" 3 uncaught exception
    fails_with "rank 1 of 2: a thread has failed" 2 uncaught uncaught
    fails_with "distributed_tests: no data on this machine" 3 start
    fails_with "rank 1 has another batch than rank 0" 2 data
    fails_with "rank 2 has another batch than rank 0" 3 rows
    fails_with "the random numbers of rank 1 and rank 0 differ" 2 random
    fails_with "rank 1 has other parameters that require a gradient" 2 frozen
    fails_with "rank 1 has parameter '0.weight' of shape (6, 4), float32, but rank 0 has parameter" 2 shape
    fails_with "rank 1 has parameter 'second.weight' of shape (4, 4), float32, but rank 0 has" 2 order
    fails_with "the initial values on rank 3 differ from those on rank 0" 4 values
    fails_with "rank 1 has 4 shards, but rank 0 has 8" 2 shards
    fails_with "depends on a tensor of shape (3)" 2 foreign
    fails_with "rank 1 calls broadcast, but rank 0 calls all_reduce" 2 calls
    fails_with "rank 2 calls all_gather, but rank 0 calls barrier" 3 barrier
    fails_with "rank 1 destroys its Communicator, but rank 0 calls barrier" 2 return
    fails_with "rank 1 destroys its Communicator, but rank 0 calls DataParallel::backward" 2 early
    fails_with "rank 2 calls all_gather, but rank 0 calls DataParallel::backward" 3 step
    fails_with "rank 1 is in a Training, RunFolder, Checkpoint, interrupted() or DataParallel's" 2 new
    fails_with "the parameters of rank 1 and rank 0 differ" 2 updates
    fails_with "broadcast: rank 1 gives root 1, but rank 0 gives root 0" 2 root
    fails_with "the optimiser's state of rank 1 differ from those of rank 0" 2 checkpoint
    mpi 3 kept || fail "an error that every rank caught"
    cp "$program" other_build && echo >>other_build
    timeout 60 "$mpiexec" $oversubscribe -n 1 "$program" kept : -n 1 ./other_build kept >got 2>&1 &&
      fail "two builds ran together"
    grep -qF "rank 1 runs another build of the program than rank 0" got || { cat got; fail "two builds"; }
    ;;
  example)  # the files for each number of processes
    "$program" one 2 >expected || fail "one process"
    cat expected
    for n in 1 2 4; do
      mpi $n many-$n 2 >got && diff expected got || fail "$n processes"
      diff -r -x teacher.json -x student.json one many-$n || fail "$n processes write other files"
    done
    ;;
  distillation)  # the tutorial's table
    mkdir data
    idx train 1800 1
    idx t10k 300 2
    "$program" data >expected 2>/dev/null || fail "one process"
    cat expected
    limit=300
    mpi 2 data >got 2>/dev/null && diff expected got || fail "2 processes give another result"
    ;;
  example_*)  # the run's folder for each number of processes, and after signals to one rank
    files() { (cd "$1" && sha256sum settings.json ./*.jsonl ./*.safetensors && ls); }
    example=${case#example_} limit=300
    flags=(--data "$data" --seeds 1 --quiet)
    if [ "$example" = language_model ]; then
      for i in {1..90}; do echo "line $i: and it was $(((i * 7) % 13)) so"; done >text
    else
      flags+=(--rows 70)
    fi
    for shards in "--shards 4" ""; do
      rm -rf one
      "$program" "${flags[@]}" $shards --out one >expected || fail "one process"
      for n in 2 3; do
        rm -rf many
        mpi $n "${flags[@]}" $shards --out many >got || fail "$n processes"
        diff <(files one) <(files many) || fail "$n processes $shards leave another folder"
        [ "$example" = cnn ] || diff expected got || fail "$n processes $shards print other results"
      done
    done
    signal() {  # signal NAME RANK TRAINING: signals a rank of the job once the training has a checkpoint
      local process
      until compgen -G "stopped/$3*.checkpoints/last.safetensors" >/dev/null || ! kill -0 $job 2>/dev/null; do
        sleep 0.02
      done
      for process in $(pgrep -f -- "$scratch/stopped"); do
        grep -Ezq "^(OMPI_COMM_WORLD_RANK|PMI_RANK)=$2\$" "/proc/$process/environ" 2>/dev/null &&
          kill -s "$1" "$process"
      done
      wait $job
    }
    # Long enough to be running still when the signals arrive.
    if [ "$example" = language_model ]; then
      for i in {91..400}; do echo "line $i: and it was $(((i * 7) % 13)) so"; done >>text
    else
      flags=(--data "$data" --seeds 1 --quiet --rows 600)
    fi
    rm -rf one
    "$program" "${flags[@]}" --shards 4 --out one >expected || fail "one process"
    flags+=(--checkpoint-every 0 --out "$scratch/stopped")
    mpi 3 "${flags[@]}" --shards 4 >got 2>&1 & job=$!
    signal KILL 1 teacher && fail "a job that lost a rank succeeded"
    mpi 2 "${flags[@]}" --shards 4 >got 2>&1 & job=$!
    signal TERM 1 alone
    grep -q "^$example: Training '.*': stopped after" got || { cat got; fail "not stopped after a step"; }
    [ "$(grep -c "^$example: " got)" -eq 1 ] || { cat got; fail "not one line"; }
    mpi 3 "${flags[@]}" --shards 4 >got 2>errors || { cat errors; fail "resuming"; }
    diff <(files one) <(files stopped) || fail "another folder after resuming"
    mpi 2 "${flags[@]}" --shards 2 >got 2>&1 && fail "other settings succeeded"
    grep "^$example: " got
    [ "$(grep -c "^$example: " got)" -eq 1 ] || { cat got; fail "not one line"; }
    ;;
  distill)  # the tool's run folder for each number of processes, after a kill and after SIGTERM
    traces() { (cd "$1" && sha256sum ./*.safetensors metrics.jsonl && ls); }
    mkdir data
    idx train 400 1
    idx t10k 100 2
    flags=(--data data --epochs 2 --teacher-width 16 --student-width 8 --student-epochs 3 --student-images 90
      --batch-size 30 --seeds 2 --log-steps 1 --checkpoint-seconds 0 --quiet)
    for more in "" "--shards 8" "--shards 4 --divergence jensen_shannon" "--shards 3 --top-k 2"; do
      rm -rf one
      "$program" "${flags[@]}" $more --out one >expected || fail "one process"
      for n in 2 4; do
        rm -rf many
        mpi $n "${flags[@]}" $more --out many >got || fail "$n processes"
        diff <(sed '/^written/d' expected) <(sed '/^written/d' got) && diff <(traces one) <(traces many) ||
          fail "$n processes $more leave another run folder"
      done
    done
    flags+=(--shards 8 --student-epochs 30) # long enough not to end before the last signal
    rm -rf one
    "$program" "${flags[@]}" --out one >/dev/null || fail "one process"
    step() {
      local last
      last=$(readlink stopped/checkpoints/last.safetensors) && last=${last##*-} && echo "${last%.*}" || echo 0
    }
    stop() {  # stop SIGNAL RANK STEPS ARGUMENT...: signals one of three processes after this many steps
      local signal=$1 rank=$2 until=$(($(step) + $3)) job process
      shift 3
      mpi 3 "$@" >got 2>&1 &
      job=$!
      while kill -0 $job 2>/dev/null && [ "$(step)" -lt "$until" ]; do sleep 0.02; done
      for process in $(pgrep -f -- "$scratch/stopped"); do
        grep -Ezq "^(OMPI_COMM_WORLD_RANK|PMI_RANK)=$rank\$" "/proc/$process/environ" 2>/dev/null &&
          kill -s "$signal" "$process"
      done
      wait $job
    }
    for signal in KILL TERM; do
      rm -rf stopped
      for try in 0 1 2; do
        resume=--resume
        [ $try -gt 0 ] || resume=
        stop $signal $try 20 "${flags[@]}" --out "$scratch/stopped" $resume
        echo "$signal to rank $try: status $? at step $(step): $(grep -m 1 "distill: \|signal" got)"
        [ $signal = KILL ] || grep -q "distill: stopped; to resume:" got || fail "not stopped after a step"
      done
      mpi 2 "${flags[@]}" --out "$scratch/stopped" --resume >/dev/null || fail "resuming"
      diff <(traces one) <(traces stopped) || fail "another run folder after $signal"
    done
    for wrong in "--epochs 0" "--data /no/such" "--divergence kl" "--out /proc/no"; do
      mpi 3 "${flags[@]}" $wrong >got 2>&1 && fail "$wrong succeeded"
      echo "$wrong: $(grep "^distill: " got)"
      [ "$(grep -c "^distill: " got)" -eq 1 ] || { cat got; fail "$wrong: not one line"; }
    done
    ;;
  *) fail "no case $case" ;;
esac
