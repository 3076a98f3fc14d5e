"""Wrong inputs that do not follow from types: of settings with a syntax of their own, of commands, contradictions."""

from __future__ import annotations

UNIT = {
    "gamma", "lam", "clip", "mu", "alpha", "tempered", "epsilon_start", "epsilon_end", "renew", "target_rate",
    "local_ratio",
}  # fmt: skip
"""Shares and discounts: nothing above 1."""
GRAMMAR = {
    "size": ["", "width=", "width=0", "width=-8", "width=x", "ratio=-1", "ratio=nan", "flops=0", "params=x", "banana=3",
             "tiers=0:8", "tiers=0,1:", "tiers=9:8;0,1:8", "width=8,width=8"],
    "sight": ["", "half", "radius=", "radius=-1", "radius=nan", "nearest=x", "nearest=-2", "drop=nonsense", "full+full",
              "0-9:full"],
    "capacity": ["", "inputs=2", "medic=2", "agent=-1", "agent=0", "agent=nan"],
    "waves": ["nowhere.nc"],
    "core": ["", "lstm", "GRU", "nothing:here", "os:getcwd"],
    "term": ["nonsense", "nothing:here", "os:getcwd"],
}  # fmt: skip
"""Wrong values of settings with a syntax of their own."""
CONTRADICT = {
    "mappo probe/action": [
        "--chunk 3 --rollout 4", "--chunk 8 --rollout 4", "--minibatches 7", "--messages tarmac --chunk 1",
        "--messages tarmac --rollout 8 --chunk 8", "--critic goals", "--shaping 1", "--together", "--teacher runs",
        "--seeds 2 --seed 4294967295", "--teacher-config.steps 5", "--preset fast --preset nonsense",
        "--size tiers=0:8;0,1:8", "--sight nearest=3",
    ],
    "happo probe/action": ["--size tiers=0:8;1:16"],
    "kd_marl probe/action": [
        "--teacher scripted:local --kl 1", "--teacher scripted:nobody", "--data dagger --adv 1",
        "--adv 0 --kl 0 --ce 0 --rel 0 --role 0 --entropy 0", "--seeds 2 --together", "--memory-gb 1e-9",
        "--teacher scripted:local --teacher-config.steps 5", "--teacher scripted:local --rel 1",
    ],
    "qmix probe/action": [
        "--burn-in 64 --chunk 64", "--warm-up 2000000", "--weighting cw --no-double", "--weighting cw --mixer iql",
        "--memory-gb 1e-9", "--capacity-steps 1", "--messages tarmac",
    ],
    "ddn probe/action": [
        "--chooses student --no-double", "--encoder 0 --features 0 --values 0 --imitate 0", "--copied",
        "--weighting ow", "--messages tarmac",
    ],
    "hint probe/action": ["--steps 1000"],
    "hint fire_commander/5x5": [
        "--pretrain 4000000", "--batch 100 --store 1 --envs 8", "--envs 6", "--every 7", "--memory-gb 1e-9",
    ],
    "mappo predator_prey/punish0": ["--env.size 3", "--env.vision 11", "--env.n-stags 99"],
    "mappo fire_commander/easy": ["--env.max-steps 127"],
}  # fmt: skip
"""Settings that contradict each other, by method and environment."""
WORDS = {
    "": ["nonsense", "--nonsense", "-x", "train", "train mappo", "train mappo nowhere/3m", "train nobody smax/3m",
         "train mappo smax/3mm", "train os:getcwd smax/3m", "train mappo os:getcwd", "train mappo :x"],
    "eval": ["", "nowhere", "smax/nomap", "probe/action --env.max-steps 5", "probe/action --act greedy",
             "probe/action --policy student", "probe/action --policy scripted:nobody", "other", "notes.txt"],
    "cost": ["", "nowhere", "probe/action", "notes.txt"],
    "fork": ["", "nowhere", "probe/action"],
    "render": ["", "probe/action", "probe/action -o picture.bmp", "probe/action -o nowhere/", "nowhere -o a.png",
               "probe/action -o a.png --side-by-side", "probe/action -o notes.txt/a.png"],
    "resume": ["", "nowhere", "other", "notes.txt"],
    "sweep": ["", "nowhere.toml", "notes.txt", "other", "plan.toml --only nothing", "plan.toml --jobs 99"],
    "report": ["nowhere", "other", "notes.txt"],
    "demo": ["--out notes.txt", "--out notes.txt/demo"],
    "list": ["extra", "--yaml"],
}  # fmt: skip
"""Wrong words of every verb."""
USUAL = {"eval": "probe/action", "cost": "run", "fork": "run", "render": "probe/action -o a.png", "resume": "run",
         "sweep": "plan.toml --quiet", "report": "results", "demo": "--out here", "list": ""}  # fmt: skip
"""Valid arguments of a verb, to which one wrong option is added."""
