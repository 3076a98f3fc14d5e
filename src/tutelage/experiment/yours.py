"""What a user brings beside an environment: methods and teachers, each call of his code told by name."""

from __future__ import annotations

from typing import Any

from tutelage.errors import BadInput, users
from tutelage.registry import method_row, resolve
from tutelage.types import Behaviour, Environment, Frozen, Method, Policy, Stage


def make_method(name: str, env: Environment, config: Any, teacher: Frozen | None) -> Method:
    """A method, ready to be fitted.

    Raises:
        BadInput: it cannot be had with these settings; or it is the user's own and raises, or gives no `Method`.
    """
    row = method_row(name)
    factory = resolve(row.factory)
    if row.factory != name:
        return factory(env, config, teacher)
    with users(f"method {name}: making it"):
        made = factory(env, config, teacher)
    if not isinstance(made, Method):
        raise BadInput(f"method {name}: gives a {type(made).__name__}, must be a tutelage.types.Method")
    told = lambda part, function: users(f"method {name}: {part}")(function)

    def of_policy(role: str, policy: Policy) -> Policy:
        replay = policy.replay and told(f"replay of {role}", policy.replay)
        init, step = told(f"init of {role}", policy.init), told(f"step of {role}", policy.step)
        return policy._replace(init=init, step=step, replay=replay)

    def of_behaviour(part: str, behaviour: Behaviour) -> Behaviour:
        plays, record = told(f"plays of {part}", behaviour.plays), told(f"record of {part}", behaviour.record)
        return behaviour._replace(policy=of_policy(part, behaviour.policy), plays=plays, record=record)

    def of_stage(stage: Stage) -> Stage:
        behaviours = {part: of_behaviour(part, one) for part, one in stage.behaviours.items()}
        return stage._replace(behaviours=behaviours, update=told(f"update of {stage.name}", stage.update))

    return made._replace(
        init=told("init", made.init),
        stages=tuple(map(of_stage, made.stages)),
        roles={role: of_policy(role, policy) for role, policy in made.roles.items()},
        params=told("params", made.params),
    )
