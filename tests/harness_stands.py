"""A stand-in for what lm_eval has of a model class, and for what it hands over. It says
nothing of tasks, filters and metrics: those are tried with lm_eval itself, by
`make test-harness`, which also compares these names with the real ones"""
from abc import ABC, abstractmethod
from types import ModuleType, SimpleNamespace as ns


class LM(ABC):
    "The part of `lm_eval.api.model.LM` that our class meets"
    def __init__(self): self.cache_hook = ns(dbdict=None)

    @abstractmethod
    def loglikelihood(self, requests): ...

    @abstractmethod
    def loglikelihood_rolling(self, requests): ...

    @abstractmethod
    def generate_until(self, requests): ...

    @classmethod
    def create_from_arg_obj(cls, arg_dict, additional_config=None):
        more = {k: v for k, v in (additional_config or {}).items() if v is not None}
        return cls(**arg_dict, **more)


def modules():
    "A package lm_eval with a registry, and the registry"
    models = {}
    def register_model(*names):
        return lambda made: [models.setdefault(n, made) for n in names][0]
    def module(name, **members):
        made = ModuleType(name)
        vars(made).update(members, __path__=[])
        return made
    model = module('lm_eval.api.model', LM=LM)
    registry = module('lm_eval.api.registry', register_model=register_model)
    api = module('lm_eval.api', model=model, registry=registry)
    theirs = module('lm_eval.models')
    top = module('lm_eval', api=api, models=theirs)
    return {m.__name__: m for m in (top, api, model, registry, theirs)}, models


def ask(*args):
    "A request"
    return ns(args=args)
