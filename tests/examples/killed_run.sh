#!/bin/sh
# killed_run.sh FORM PROGRAM ARGUMENT...: runs the program without interruption, then again with kills, and
# compares the run folders. Both runs read the same generated text. The lines begin with references if FORM is
# "verses", and have none if it is "lines".
set -eu
form=$1
program=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

awk -v form="$form" 'BEGIN {
  split("the and of king house lord came said unto went day earth water people stone field", word)
  split("Gen Exo Job Mark", book)
  state = 7
  for (line = 0; line < 160; ++line) {
    b = int(line / 40) + 1
    text = form == "verses" ? sprintf("%s%d:%d ", book[b], int(line % 40 / 10) + 1, line % 10 + 1) : ""
    length_of_line = 4 + line * 7 % 9
    for (i = 0; i < length_of_line; ++i) {
      state = (state * 75 + 74) % 65537
      text = text word[state % (8 + 2 * b) + 1] (i + 1 < length_of_line ? " " : ".")
    }
    print text
  }
}' > "$work/text"

"$program" --data "$work/text" --out "$work/undisturbed" --quiet "$@" > "$work/undisturbed.out"
kills=0
for seconds in 0.05 0.3 0.2 0.5 0.4 0.6; do
  # Each process saves after every step, so that the next one resumes where the last was killed.
  if timeout --foreground -s KILL "$seconds" "$program" --data "$work/text" --out "$work/killed" --quiet --checkpoint-every 0 "$@" \
    > /dev/null; then
    break
  fi
  kills=$((kills + 1))
done
"$program" --data "$work/text" --out "$work/killed" --quiet "$@" > "$work/killed.out"

echo "$kills kills"
cmp "$work/undisturbed.out" "$work/killed.out"
for file in "$work/undisturbed"/*.safetensors "$work/undisturbed"/*.jsonl; do
  cmp "$file" "$work/killed/${file##*/}"
done
[ "$(ls "$work/undisturbed")" = "$(ls "$work/killed")" ]
