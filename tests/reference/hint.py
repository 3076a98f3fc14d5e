"""HINT: a hierarchical teacher, what it makes of its own and its students' experience, and what it tells them."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import goals as G
from reference import nets
from reference.maths import Array, Descent, Scale, at, entropy, gae, log_softmax, mean, normal, one_hot, softmax, vtrace
from reference.ppo import surrogate

Decision = tuple[int, int]
"""A step and an environment."""


class Told:
    """Experience as the teacher's: what both sources have in common."""

    def __init__(self, c: Any, told: Any, coordinator: Any, executor: Any, log_prob: Array, due: Array) -> None:
        self.c, self.told, self.log_prob, self.due = c, told, log_prob, due
        self.now = {k: x[:-1] for k, x in told.items() if k != "goals"}
        self.now["goals"] = {k: x[:-1] for k, x in told["goals"].items()}
        self.valid = ~self.now["last"]
        self.counts = self.valid[..., None] & self.now["alive"] & self.now["avail"].any(-1)
        self.action = told["action"][1:]
        self.prior = G.coordinate(coordinator, self.now["goals"], self.now["state"])
        every = G.features(self.now["goals"])
        self.under = log_softmax(G.execute(executor, nets.local(self.now), every, self.now["avail"]))
        self.decisions = [(int(t), int(b)) for t, b in np.argwhere(due & self.valid)]
        self.goal = np.zeros((len(self.valid) + 1, *self.counts.shape[1:]), int)
        # Of each decision: which goal was meant, how likely each, and how much less likely its acts were than played.
        self.choice: dict[Decision, Array] = {}
        self.high: dict[Decision, Array] = {}
        self.chosen: dict[Decision, list[int]] = {}
        self.old = log_prob
        self.ratio = np.ones(log_prob.shape)

    def until_next(self, t: int, b: int) -> range:
        """Steps from a decision to the next one."""
        after = [s for s in range(t + 1, len(self.due)) if self.due[s, b]]
        return range(t, min([*after, len(self.due)]))

    def meant(self, name: str, decision: Decision) -> Any:
        return self.now["goals"][name][decision]


def own(told: Told, goal: Array) -> Told:
    """The teacher's own experience: the goals are known."""
    final = G.possible(told.told["goals"])[-1]
    fine = np.take_along_axis(final, goal[-1][..., None], -1)[..., 0]
    told.goal = np.concatenate([goal, np.where(fine, goal[-1], final.shape[-1] - 1)[None]])
    for d in told.decisions:
        told.chosen[d] = list(goal[d])
        told.choice[d] = one_hot(goal[d], final.shape[-1])
        told.high[d] = np.ones(goal.shape[-1])
    return told


def theirs(told: Told) -> Told:
    """Students' experience: goals that explain what they did, the likeliest of them as what was meant."""
    can, (t_max, b_max, n_max) = G.possible(told.told["goals"]), told.log_prob.shape
    none = can.shape[-1] - 1
    under = np.take_along_axis(told.under, told.action[..., None, None], -1)[..., 0]  # (T, B, N, M + 1)
    for b, n, j in np.ndindex(b_max, n_max, none):
        lives = True
        for t in range(t_max):
            lives = can[t, b, n, j] and (lives or told.due[t, b])
            if not lives:
                under[t, b, n, j] = under[t, b, n, none]
    for t, b in told.decisions:
        steps = [s for s in told.until_next(t, b) if told.valid[s, b]]
        explains, acted = under[steps, b].sum(0), told.log_prob[steps, b].sum(0)
        likeliest = lambda i, log, explains=explains: int((log + explains[i]).argmax())
        chosen, logs = G.one_by_one(told.c, told.meant("thing", (t, b)), told.prior[t, b], likeliest)
        told.chosen[t, b], told.choice[t, b] = chosen, softmax(logs + explains)
        told.high[t, b] = np.minimum(1, np.exp(np.log(np.exp(logs + explains).sum(-1)) - acted))
    for b, n in np.ndindex(b_max, n_max):
        held = none
        for t in range(t_max + 1):
            if (t, b) in told.chosen:
                held = told.chosen[t, b][n]
            if not can[t, b, n, held]:
                held = none
            told.goal[t, b, n] = held
    told.old = at(under, told.goal[:-1])
    told.ratio = np.exp(told.old - told.log_prob)
    return told


class Lesson:
    """Advantages and targets of one source of experience."""

    def __init__(self, c: Any, told: Told, values: Any, scale: Scale, weight: float) -> None:
        self.told, steps = told, told.told
        read = G.of(G.features(steps["goals"]), told.goal)
        self.read = read
        each, team = value_each(values["each"], steps, read), team_value(values["team"], steps["state"], scale)
        reward, discount = steps["reward"][1:], steps["discount"][1:]
        wide = lambda x: np.repeat(x[..., None], told.ratio.shape[-1], -1)
        paid = G.progress(steps, told.goal[:-1], c.gamma)
        for_team, team_part = vtrace(steps, wide(reward / scale.deviation()), discount, each[..., 0], told.ratio, c)
        ahead = wide(discount) * self.kept(c)
        for_goal, goal_part = vtrace(steps, paid, ahead, each[..., 1], told.ratio, c)
        joint = np.minimum(told.ratio, 1).prod(-1)
        _, self.team = vtrace(steps, reward, discount, team, joint, c)
        self.each = np.stack([team_part, goal_part], -1)
        self.weight = weight * np.minimum(told.ratio, 1)
        self.advantage = for_team + c.shaping * for_goal
        self.high_weight = {d: weight * x for d, x in told.high.items()}
        self.high = {d: self.earned(c, d, team) - team[d] for d in told.decisions}
        self.alive = {d: steps["alive"][d] for d in told.decisions}
        given = lambda d: G.one_by_one(c, told.meant("thing", d), told.prior[d], lambda i, log: told.chosen[d][i])[1]
        self.before = {d: given(d) for d in told.decisions}

    def kept(self, c: Any) -> Array:
        """Whether an agent still has its goal from the same decision a step later."""
        told = self.told
        out = np.zeros(told.ratio.shape, bool)
        for t, b in np.ndindex(told.valid.shape):
            last = max([s for s, other in told.decisions if other == b and s <= t], default=None)
            anew = (t + 1, b) in told.decisions or (last is not None and t + 1 - last >= c.every)
            out[t, b] = (told.goal[t + 1, b] == told.goal[t, b]) & (not anew)
        return out

    def earned(self, c: Any, decision: Decision, team: Array) -> float:
        """Discounted rewards up to the next decision or the episode's end, and what is expected there."""
        (t, b), told, total, factor = decision, self.told, 0.0, 1.0
        while True:
            total += factor * told.told["reward"][t + 1, b]
            factor *= c.gamma * told.told["discount"][t + 1, b]
            t += 1
            if t == len(told.valid):
                return total + factor * team[t, b]
            if (t, b) in told.decisions or not told.valid[t, b]:
                return total + factor * (c.lam * self.team[t, b] + (1 - c.lam) * team[t, b])


def value_each(p: Any, steps: Any, read: Array) -> Array:
    """Two values per agent: of the team's rewards, and of its goal's."""
    x = nets.dense(p["world"], steps["state"])[..., None, :] + nets.dense(p["see"], nets.local(steps))
    return nets.dense(p["head"], nets.relu(nets.dense(p["hidden"], nets.relu(x + nets.dense(p["goal"], read)))))


def team_value(p: Any, state: Array, scale: Scale) -> Array:
    return nets.value(p, state) * scale.deviation() + scale.mean


def learn(c: Any, lessons: list[Lesson], coordinator: Any, executor: Any, values: Any, scale: Scale, lr: float) -> Any:
    """The teacher's steps on all lessons side by side: (coordinator, executor, values, scale after)."""
    join = lambda of: np.concatenate([of(x) for x in lessons], 1)
    counts, weight = join(lambda x: x.told.counts), join(lambda x: x.weight)
    valid, action = join(lambda x: x.told.valid), join(lambda x: x.told.action)
    advantage = normal(join(lambda x: x.advantage), counts & (weight > 0))
    old, read = join(lambda x: x.told.old), join(lambda x: x.read[:-1])
    now = {k: join(lambda x, k=k: x.told.now[k]) for k in lessons[0].told.now if k != "goals"}
    each, team = join(lambda x: x.each), join(lambda x: x.team)
    after = scale.after(team, valid)

    def executor_loss(p: Any) -> float:
        logits = G.execute(p, nets.local(now), read, now["avail"])
        loss = surrogate(at(log_softmax(logits), action), old, advantage, counts, c.clip, weight)
        return loss - c.entropy * mean(entropy(logits), counts)

    def values_loss(p: Any) -> float:
        one = mean(
            ((value_each(p["each"], now, read) - each) ** 2).sum(-1), np.broadcast_to(valid[..., None], old.shape)
        )
        error = (team_value(p["team"], now["state"], after) - team) / after.deviation()
        return 0.5 * one + 0.5 * mean(error**2, valid)

    e, v, h = Descent(executor, c), Descent(values, c), Descent(coordinator, c)
    for _ in range(c.epochs):
        e.step(executor_loss, lr)
        v.step(values_loss, lr)
    for _ in range(c.goal_epochs):
        h.step(lambda p: coordinator_loss(c, lessons, p), lr)
    return h, e, v, after


def coordinator_loss(c: Any, lessons: list[Lesson], p: Any) -> float:
    """The surrogate of goals, each as likely as it was the one meant, less the bonus for their entropy."""
    every = [(x, d) for x in lessons for d in x.told.decisions]
    some = np.array([x.alive[d].any() for x, d in every])
    advantage = normal(np.array([x.high[d] for x, d in every]), some)
    ratios, spreads, weights, alive = [], [], [], []
    for x, d in every:
        goals = {k: y[d] for k, y in x.told.now["goals"].items()}
        logits = G.coordinate(p, goals, x.told.now["state"][d])
        now = G.one_by_one(c, goals["thing"], logits, lambda i, log, x=x, d=d: x.told.chosen[d][i])[1]
        choice = x.told.choice[d]
        ratios.append((choice * np.where(choice > 0, now - x.before[d], 0.0)).sum(-1))
        spreads.append(entropy(now))
        weights.append(x.high_weight[d])
        alive.append(x.alive[d])
    where, log_ratio = np.array(alive), np.array(ratios)
    wide = np.repeat(advantage[:, None], log_ratio.shape[-1], -1)
    loss = surrogate(log_ratio, np.zeros_like(log_ratio), wide, where, c.clip, np.array(weights))
    return loss - c.goal_entropy * mean(np.array(spreads), where)


# ---- what students are told ------------------------------------------------------------------------------------------
def labels(told: Told) -> Array:
    """The teacher's distribution over actions with the goal of every step summed out, as logits over a temperature."""
    c, can = told.c, G.possible(told.now["goals"])
    acted = np.take_along_axis(told.under, told.action[..., None, None], -1)[..., 0]
    out = np.zeros(told.under.shape[:3] + told.under.shape[-1:])
    for b in range(can.shape[1]):
        before: Any = None
        for t in range(len(can)):
            best = lambda i, log: int(log.argmax())
            logs = G.one_by_one(c, told.meant("thing", (t, b)), told.prior[t, b], best)[1]
            given = softmax(c.sharpness * logs)
            weight = given  # from an episode's start, or where what was held before is not known
            if before is not None and not told.now["first"][t, b]:
                kept = np.where(can[t, b], before, 0.0)
                kept[..., -1] += np.where(can[t, b], 0.0, before).sum(-1)
                weight = (1 - c.renew) * kept + c.renew * given
            before = softmax(np.log(np.maximum(weight, 1e-300)) + acted[t, b])
            out[t, b] = np.log(np.maximum((weight[..., None] * np.exp(told.under[t, b])).sum(-2), 1e-300))
    return out / c.temperature


def worth_of_own(told: Told, value: Array, expected: Array, scale: Scale) -> Array:
    """Teacher episodes that are won, or earn at least what students would and a margin."""
    c, steps = told.c, told.told
    value = np.where(steps["last"], expected, value)
    whole = type(c)(**{**vars(c), "lam": 1.0})
    earned = gae(steps, steps["reward"][1:], value, whole) + value[:-1]
    keep = earned >= expected[:-1] + c.margin * scale.deviation()
    for t, b in np.ndindex(keep.shape):
        end = next((s for s in range(t, len(steps["last"])) if steps["last"][s, b]), None)
        keep[t, b] |= end is not None and bool(steps["success"][end, b])
    return keep[..., None]


def worth_of_theirs(told: Told, value: Array, expected: Array, scale: Scale, label: Array) -> Array:
    """Student steps from which the teacher would do better by a margin, or whose act was the teacher's and paid."""
    gain = gae(told.told, told.told["reward"][1:], expected, told.c)[..., None]
    better = value[:-1] - expected[:-1] > told.c.margin * scale.deviation()
    return better[..., None] | ((label.argmax(-1) == told.action) & (gain > 0))


def student_loss(c: Any, p: Any, sources: list[tuple[Told, Array, Array]], gain: Array) -> float:
    """KL to the labels of what is kept less the bonus for entropy, and PPO on what students did themselves."""
    kl, spread, kept = [], [], []
    for told, label, keep in sources:
        logits, avail = nets.agent(p[0], nets.local(told.now), told.now["avail"]), told.now["avail"]
        target, mine = (log_softmax(np.where(avail, z, -1e9)) for z in (label, logits))
        kl.append(np.where(avail, np.exp(target) * (target - mine), 0.0).sum(-1))
        spread.append(entropy(logits))
        kept.append(keep)
    where = np.concatenate(kept, 1)
    loss = mean(np.concatenate(kl, 1), where) - c.student_entropy * mean(np.concatenate(spread, 1), where)
    own = sources[1][0]
    log_prob = at(log_softmax(nets.agent(p[0], nets.local(own.now), own.now["avail"])), own.action)
    return loss + c.rl * surrogate(log_prob, own.log_prob, gain, own.counts, c.clip)
