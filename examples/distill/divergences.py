#!/usr/bin/env python3
"""Compares the divergences of the distillation loss on Fashion-MNIST with the program `distill`.

    divergences.py DISTILL FOLDER [--jobs N] [--nice N]

For each loss, nine settings are evaluated on 5,000 held-out training images: three learning rates, and three
temperatures (for logit_mse, which has no temperature, three weights of the teacher). The setting with the
highest mean accuracy of three seeds is trained with twenty other seeds and evaluated on the test images. All
losses share seeds, images, initial weights and the student alone. Writes FOLDER/table.md. The script can be
stopped at any time; the same command resumes.
"""
import argparse, concurrent.futures, json, math, os, pathlib, statistics, subprocess, sys

LOSSES = {
    "forward_kl": [], "reverse_kl": [], "jensen_shannon": [], "skew_kl": [], "skew_reverse_kl": [],
    "total_variation": [], "logit_mse": [], "forward_kl, standardized": ["--standardize"],
}
RATES = [0.004, 0.008, 0.016]
TUNING_SEEDS, TEST_SEEDS, FIRST_TUNING_SEED = 3, 20, 1000
T_QUANTILE = 2.093  # Student's t-distribution with 19 degrees of freedom, for 95 %


def settings_of(loss):
    """Returns (temperature, alpha, learning rate) of each setting."""
    pairs = [(1, 0.8), (1, 0.5), (1, 0.2)] if loss == "logit_mse" else [(2, 1), (4, 1), (8, 1)]
    return [(T, alpha, rate) for T, alpha in pairs for rate in RATES]


def flags_of(loss, setting):
    T, alpha, rate = setting
    return ["--divergence", loss.split(",")[0], *LOSSES[loss], "--temperature", T, "--alpha", alpha,
            "--distilled-lr", rate]


class Runs:
    def __init__(self, distill, folder, nice):
        self.distill, self.folder, self.nice = distill, pathlib.Path(folder), nice

    def run(self, name, command, last_file, *flags):
        """Runs the program, or resumes or skips a run of this name. Returns the folder."""
        out = self.folder / name
        if not (out / last_file).exists():
            words = [self.distill, command, *flags, "--out", out, "--quiet"]
            if (out / "checkpoints" / "last.safetensors").exists():
                words.append("--resume")
            done = subprocess.run([str(word) for word in words], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True, preexec_fn=lambda: os.nice(self.nice))
            if done.returncode != 0:
                sys.exit(f"{name}: {done.stderr.strip()}")
            print(name, flush=True)
        return out

    def teacher(self, name, *flags):
        logits = self.folder / f"{name}.safetensors"
        self.run(name, "train-teacher", "teacher_logits.safetensors", *flags)
        if not logits.exists():
            os.link(self.folder / name / "teacher_logits.safetensors", logits)
        return logits

    def students(self, name, logits, *flags):
        out = self.run(name, "teach", "result.json", "--teacher-logits", logits, "--threads", 1, *flags)
        return json.loads((out / "result.json").read_text())["runs"]


def mean(runs, student, key):
    return statistics.fmean(run[student][key] for run in runs)


def difference(candidate, baseline, scale=100, digits=2):
    """Returns the mean of the paired differences with its 95 % interval."""
    values = [scale * (a - b) for a, b in zip(candidate, baseline)]
    middle, half = statistics.fmean(values), T_QUANTILE * statistics.stdev(values) / math.sqrt(len(values))
    return f"{middle:+.{digits}f} [{middle - half:+.{digits}f}, {middle + half:+.{digits}f}]"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("distill")
    parser.add_argument("folder")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--nice", type=int, default=0)
    arguments = parser.parse_args()
    runs = Runs(arguments.distill, arguments.folder, arguments.nice)
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        # The student alone trains for one epoch, since its result is not used here.
        held_out = ["--held-out", 5000]
        logits = runs.teacher("tuning_teacher", *held_out)
        tried = {(loss, setting): pool.submit(
            runs.students, "tuning_" + "_".join(str(part) for part in (loss.replace(", ", "_"), *setting)),
            logits, *held_out, "--seed", FIRST_TUNING_SEED, "--seeds", TUNING_SEEDS, "--alone-epochs", 1,
            *flags_of(loss, setting)) for loss in LOSSES for setting in settings_of(loss)}
        best = {}
        for loss in LOSSES:
            means = {setting: (mean(tried[loss, setting].result(), "distilled", "accuracy"),
                               -mean(tried[loss, setting].result(), "distilled", "nll"))
                     for setting in settings_of(loss)}
            best[loss] = max(means, key=means.get)

        logits = runs.teacher("teacher")
        final = {loss: pool.submit(
            runs.students, "test_" + loss.replace(", ", "_"), logits, "--seeds", TEST_SEEDS,
            *([] if loss == "forward_kl" else ["--alone-epochs", 1]), *flags_of(loss, setting))
            for loss, setting in best.items()}
        final = {loss: result.result() for loss, result in final.items()}

    def column(runs_of_loss, student, key):
        return [run[student][key] for run in runs_of_loss]

    alone = final["forward_kl"]
    rows = ["| loss | T, alpha, learning rate | tuning: accuracy, % | test: accuracy, % | minus alone "
            "| minus forward KL | NLL | calibration error, % |", "|---|---|--:|--:|--:|--:|--:|--:|",
            f"| labels alone | | | {100 * mean(alone, 'alone', 'accuracy'):.2f} | | "
            f"| {mean(alone, 'alone', 'nll'):.3f} | {100 * mean(alone, 'alone', 'ece'):.2f} |"]
    for loss, result in final.items():
        T, alpha, rate = best[loss]
        accuracy = column(result, "distilled", "accuracy")
        against = difference(accuracy, column(final["forward_kl"], "distilled", "accuracy"))
        rows.append(
            f"| {loss} | {'–' if loss == 'logit_mse' else T}, {alpha}, {rate} "
            f"| {100 * mean(tried[loss, best[loss]].result(), 'distilled', 'accuracy'):.2f} "
            f"| {100 * statistics.fmean(accuracy):.2f} | {difference(accuracy, column(alone, 'alone', 'accuracy'))} "
            f"| {'' if loss == 'forward_kl' else against} | {mean(result, 'distilled', 'nll'):.3f} "
            f"| {100 * mean(result, 'distilled', 'ece'):.2f} |")
    table = "\n".join(rows) + "\n"
    (pathlib.Path(arguments.folder) / "table.md").write_text(table)
    print(table)


if __name__ == "__main__":
    main()
