"""HINT: a hierarchical teacher, its updates on its own and its students' experience, and its labels for students."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import goals as G
from reference import nets
from reference.maths import Array, Descent, Scale, at, entropy, gae, log_softmax, mean, normal, one_hot, softmax, vtrace
from reference.ppo import surrogate

Decision = tuple[int, int]
"""A step and an environment."""


class Experience:
    """A rollout with goals and the teacher's log-probabilities: what both sources have in common."""

    def __init__(self, c: Any, steps: Any, coordinator: Any, executor: Any, log_prob: Array, due: Array) -> None:
        self.c, self.steps, self.log_prob, self.due = c, steps, log_prob, due
        self.now = {k: x[:-1] for k, x in steps.items() if k != "goals"}
        self.now["goals"] = {k: x[:-1] for k, x in steps["goals"].items()}
        self.valid = ~self.now["last"]
        self.counts = self.valid[..., None] & self.now["alive"] & self.now["avail"].any(-1)
        self.action = steps["action"][1:]
        self.coordinator_logits = G.coordinate(coordinator, self.now["goals"], self.now["state"])
        every = G.all_goal_features(self.now["goals"])
        self.goal_log_probs = log_softmax(G.execute(executor, nets.local(self.now), every, self.now["avail"]))
        self.decisions = [(int(t), int(b)) for t, b in np.argwhere(due & self.valid)]
        self.goal = np.zeros((len(self.valid) + 1, *self.counts.shape[1:]), int)
        # By decision: the posterior of goals, the ratio of the actions that followed, and the goals assigned.
        self.goal_posterior: dict[Decision, Array] = {}
        self.coordinator_ratio: dict[Decision, Array] = {}
        self.assigned: dict[Decision, list[int]] = {}
        self.old_log_prob = log_prob
        self.ratio = np.ones(log_prob.shape)

    def until_next(self, t: int, b: int) -> range:
        """Steps from a decision to the next one."""
        after = [s for s in range(t + 1, len(self.due)) if self.due[s, b]]
        return range(t, min([*after, len(self.due)]))

    def goals_at(self, name: str, decision: Decision) -> Any:
        return self.now["goals"][name][decision]


def teacher_experience(experience: Experience, goal: Array) -> Experience:
    """The teacher's own experience: the goals are known."""
    final = G.valid_goals(experience.steps["goals"])[-1]
    fine = np.take_along_axis(final, goal[-1][..., None], -1)[..., 0]
    experience.goal = np.concatenate([goal, np.where(fine, goal[-1], final.shape[-1] - 1)[None]])
    for d in experience.decisions:
        experience.assigned[d] = list(goal[d])
        experience.goal_posterior[d] = one_hot(goal[d], final.shape[-1])
        experience.coordinator_ratio[d] = np.ones(goal.shape[-1])
    return experience


def student_experience(experience: Experience) -> Experience:
    """Students' experience: the posterior over goals given their actions, and its most probable goals."""
    can, (t_max, b_max, n_max) = G.valid_goals(experience.steps["goals"]), experience.log_prob.shape
    none = can.shape[-1] - 1
    taken = np.take_along_axis(experience.goal_log_probs, experience.action[..., None, None], -1)[..., 0]
    for b, n, j in np.ndindex(b_max, n_max, none):
        lives = True
        for t in range(t_max):
            lives = can[t, b, n, j] and (lives or experience.due[t, b])
            if not lives:
                taken[t, b, n, j] = taken[t, b, n, none]
    for t, b in experience.decisions:
        steps = [s for s in experience.until_next(t, b) if experience.valid[s, b]]
        log_likelihood, played = taken[steps, b].sum(0), experience.log_prob[steps, b].sum(0)
        likeliest = lambda i, log, log_likelihood=log_likelihood: int((log + log_likelihood[i]).argmax())
        chosen, logs = G.assign_sequentially(
            experience.c, experience.goals_at("thing", (t, b)), experience.coordinator_logits[t, b], likeliest
        )
        experience.assigned[t, b], experience.goal_posterior[t, b] = chosen, softmax(logs + log_likelihood)
        experience.coordinator_ratio[t, b] = np.minimum(
            1, np.exp(np.log(np.exp(logs + log_likelihood).sum(-1)) - played)
        )
    for b, n in np.ndindex(b_max, n_max):
        held = none
        for t in range(t_max + 1):
            if (t, b) in experience.assigned:
                held = experience.assigned[t, b][n]
            if not can[t, b, n, held]:
                held = none
            experience.goal[t, b, n] = held
    experience.old_log_prob = at(taken, experience.goal[:-1])
    experience.ratio = np.exp(experience.old_log_prob - experience.log_prob)
    return experience


class TeacherBatch:
    """Advantages and targets of one source of experience."""

    def __init__(self, c: Any, experience: Experience, values: Any, scale: Scale, weight: float) -> None:
        self.experience, steps = experience, experience.steps
        read = G.of(G.all_goal_features(steps["goals"]), experience.goal)
        self.goal = read
        each, team = value_each(values["each"], steps, read), team_value(values["team"], steps["state"], scale)
        reward, discount = steps["reward"][1:], steps["discount"][1:]
        wide = lambda x: np.repeat(x[..., None], experience.ratio.shape[-1], -1)
        paid = G.goal_progress(steps, experience.goal[:-1], c.gamma)
        for_team, team_part = vtrace(
            steps, wide(reward / scale.deviation()), discount, each[..., 0], experience.ratio, c
        )
        ahead = wide(discount) * self.goal_goes_on(c)
        for_goal, goal_part = vtrace(steps, paid, ahead, each[..., 1], experience.ratio, c)
        joint = np.minimum(experience.ratio, 1).prod(-1)
        _, self.team_target = vtrace(steps, reward, discount, team, joint, c)
        self.agent_target = np.stack([team_part, goal_part], -1)
        self.weight = weight * np.minimum(experience.ratio, 1)
        self.advantage = for_team + c.shaping * for_goal
        self.goal_weight = {d: weight * x for d, x in experience.coordinator_ratio.items()}
        self.goal_advantage = {d: self.decision_return(c, d, team) - team[d] for d in experience.decisions}
        self.alive = {d: steps["alive"][d] for d in experience.decisions}
        conditional = lambda d: G.assign_sequentially(
            c,
            experience.goals_at("thing", d),
            experience.coordinator_logits[d],
            lambda i, log: experience.assigned[d][i],
        )[1]
        self.old_log_probs = {d: conditional(d) for d in experience.decisions}

    def goal_goes_on(self, c: Any) -> Array:
        """Whether an agent still has its goal, from the same decision, a step later."""
        experience = self.experience
        out = np.zeros(experience.ratio.shape, bool)
        for t, b in np.ndindex(experience.valid.shape):
            last = max([s for s, other in experience.decisions if other == b and s <= t], default=None)
            anew = (t + 1, b) in experience.decisions or (last is not None and t + 1 - last >= c.every)
            out[t, b] = (experience.goal[t + 1, b] == experience.goal[t, b]) & (not anew)
        return out

    def decision_return(self, c: Any, decision: Decision, team: Array) -> float:
        """Discounted rewards up to the next decision or the episode's end, and what is expected there."""
        (t, b), experience, total, factor = decision, self.experience, 0.0, 1.0
        while True:
            total += factor * experience.steps["reward"][t + 1, b]
            factor *= c.gamma * experience.steps["discount"][t + 1, b]
            t += 1
            if t == len(experience.valid):
                return total + factor * team[t, b]
            if (t, b) in experience.decisions or not experience.valid[t, b]:
                return total + factor * (c.lam * self.team_target[t, b] + (1 - c.lam) * team[t, b])


def value_each(p: Any, steps: Any, read: Array) -> Array:
    """Two values per agent: of the team's rewards, and of its goal's."""
    x = nets.dense(p["world"], steps["state"])[..., None, :] + nets.dense(p["see"], nets.local(steps))
    return nets.dense(p["head"], nets.relu(nets.dense(p["hidden"], nets.relu(x + nets.dense(p["goal"], read)))))


def team_value(p: Any, state: Array, scale: Scale) -> Array:
    return nets.value(p, state) * scale.deviation() + scale.mean


def update_teacher(
    c: Any, batches: list[TeacherBatch], coordinator: Any, executor: Any, values: Any, scale: Scale, lr: float
) -> Any:
    """Updates of the teacher on all batches, concatenated: (coordinator, executor, values, scale after)."""
    join = lambda of: np.concatenate([of(x) for x in batches], 1)
    counts, weight = join(lambda x: x.experience.counts), join(lambda x: x.weight)
    valid, action = join(lambda x: x.experience.valid), join(lambda x: x.experience.action)
    advantage = normal(join(lambda x: x.advantage), counts & (weight > 0))
    old, read = join(lambda x: x.experience.old_log_prob), join(lambda x: x.goal[:-1])
    now = {k: join(lambda x, k=k: x.experience.now[k]) for k in batches[0].experience.now if k != "goals"}
    each, team = join(lambda x: x.agent_target), join(lambda x: x.team_target)
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
        h.step(lambda p: coordinator_loss(c, batches, p), lr)
    return h, e, v, after


def coordinator_loss(c: Any, batches: list[TeacherBatch], p: Any) -> float:
    """The surrogate of goals, averaged over their posterior, less the bonus for their entropy."""
    every = [(x, d) for x in batches for d in x.experience.decisions]
    some = np.array([x.alive[d].any() for x, d in every])
    advantage = normal(np.array([x.goal_advantage[d] for x, d in every]), some)
    ratios, entropies, weights, alive = [], [], [], []
    for x, d in every:
        goals = {k: y[d] for k, y in x.experience.now["goals"].items()}
        logits = G.coordinate(p, goals, x.experience.now["state"][d])
        now = G.assign_sequentially(c, goals["thing"], logits, lambda i, log, x=x, d=d: x.experience.assigned[d][i])[1]
        posterior = x.experience.goal_posterior[d]
        ratios.append((posterior * np.where(posterior > 0, now - x.old_log_probs[d], 0.0)).sum(-1))
        entropies.append(entropy(now))
        weights.append(x.goal_weight[d])
        alive.append(x.alive[d])
    where, log_ratio = np.array(alive), np.array(ratios)
    wide = np.repeat(advantage[:, None], log_ratio.shape[-1], -1)
    loss = surrogate(log_ratio, np.zeros_like(log_ratio), wide, where, c.clip, np.array(weights))
    return loss - c.goal_entropy * mean(np.array(entropies), where)


# ---- labels, filters and the students' loss ------------------------------------------------------------------------
def teacher_labels(experience: Experience) -> Array:
    """The teacher's distribution over actions with the goal of every step summed out, as logits over a temperature."""
    c, can = experience.c, G.valid_goals(experience.now["goals"])
    acted = np.take_along_axis(experience.goal_log_probs, experience.action[..., None, None], -1)[..., 0]
    out = np.zeros(experience.goal_log_probs.shape[:3] + experience.goal_log_probs.shape[-1:])
    for b in range(can.shape[1]):
        before: Any = None
        for t in range(len(can)):
            best = lambda i, log: int(log.argmax())
            logs = G.assign_sequentially(
                c, experience.goals_at("thing", (t, b)), experience.coordinator_logits[t, b], best
            )[1]
            given = softmax(logs)
            weight = given  # from an episode's start, or where what was held before is not known
            if before is not None and not experience.now["first"][t, b]:
                kept = np.where(can[t, b], before, 0.0)
                kept[..., -1] += np.where(can[t, b], 0.0, before).sum(-1)
                weight = (1 - c.renew) * kept + c.renew * given
            before = softmax(np.log(np.maximum(weight, 1e-300)) + acted[t, b])
            out[t, b] = np.log(
                np.maximum((weight[..., None] * np.exp(experience.goal_log_probs[t, b])).sum(-2), 1e-300)
            )
    return out / c.temperature


def filter_own_episodes(experience: Experience, value: Array, expected: Array) -> Array:
    """Teacher episodes that succeed, or earn at least what students would."""
    c, steps = experience.c, experience.steps
    value = np.where(steps["last"], expected, value)
    whole = type(c)(**{**vars(c), "lam": 1.0})
    earned = gae(steps, steps["reward"][1:], value, whole) + value[:-1]
    keep = earned >= expected[:-1]
    for t, b in np.ndindex(keep.shape):
        end = next((s for s in range(t, len(steps["last"])) if steps["last"][s, b]), None)
        keep[t, b] |= end is not None and bool(steps["success"][end, b])
    return keep[..., None]


def filter_student_episodes(experience: Experience, value: Array, expected: Array, label: Array) -> Array:
    """Student steps where the teacher's value is higher, or its action was taken and paid off."""
    gain = gae(experience.steps, experience.steps["reward"][1:], expected, experience.c)[..., None]
    better = value[:-1] > expected[:-1]
    return better[..., None] | ((label.argmax(-1) == experience.action) & (gain > 0))


def student_loss(c: Any, p: Any, sources: list[tuple[Experience, Array, Array]], gain: Array) -> float:
    """KL to the labels that are kept, less the bonus for entropy, and PPO on the students' own rollout."""
    kl, entropies, kept = [], [], []
    for experience, label, keep in sources:
        logits, avail = nets.agent(p[0], nets.local(experience.now), experience.now["avail"]), experience.now["avail"]
        target, mine = (log_softmax(np.where(avail, z, -1e9)) for z in (label, logits))
        kl.append(np.where(avail, np.exp(target) * (target - mine), 0.0).sum(-1))
        entropies.append(entropy(logits))
        kept.append(keep)
    where = np.concatenate(kept, 1)
    loss = mean(np.concatenate(kl, 1), where) - c.student_entropy * mean(np.concatenate(entropies, 1), where)
    own = sources[1][0]
    log_prob = at(log_softmax(nets.agent(p[0], nets.local(own.now), own.now["avail"])), own.action)
    return loss + c.rl * surrogate(log_prob, own.log_prob, gain, own.counts, c.clip)
