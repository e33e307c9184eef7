"""Small stand-ins for what vLLM and SGLang hand to a processor, and toy engines that
drive it: requests come and go, slots and rows are used again, drafts are accepted or
not. tests/engines compares these fields with those of the real classes, and drives the
same toys with the real ones."""
import weakref
from types import SimpleNamespace as ns

import numpy as np
import torch

import llm_sampling as ls
from llm_sampling.noise import sample

V = 30

# what our classes read of the engines' own, by the name of the real class
FIELDS = dict(
    SamplingParams='extra_args temperature seed ignore_eos all_stop_token_ids',
    LogitsProcRequestState='max_num_reqs vocab_size all_token_ids prompt_len '
                           'total_len',
    LogitsContext='expanded_idx_mapping idx_mapping_np expanded_local_pos input_ids '
                  'pos seq_lens_upper_bound_np',
    BatchUpdate='removed added moved',
    Req='origin_input_ids output_ids eos_token_ids sampling_params to_finish')


def params(extra_args=None, temperature=1., seed=None, ends=(), ignore_eos=False):
    return ns(extra_args=extra_args, temperature=temperature, seed=seed,
              ignore_eos=ignore_eos, all_stop_token_ids={*ends})


def model(ids):
    "Logits after a text: random, but always the same; a few tokens are common"
    g = torch.Generator().manual_seed(hash(tuple(ids)) % 2**40)
    return torch.randn(V, generator=g) * 2 + torch.arange(V).flip(0) * .1


class Alone:
    "One request by itself, without an engine: what each token must be"
    def __init__(self, prompt, knobs, temperature, seed, ends=()):
        self.prompt, self.ids, self.knobs = prompt, [*prompt], dict(knobs)
        self.temperature, self.seed, self.ends = temperature, seed, ends
        own = dict(order='vllm') | dict(knobs)
        if 'p_less' in own: own['p_less'] = True
        self.memory = None
        if 'mirostat_tau' in own:
            own.pop('mirostat')
            self.memory = ls.Mirostat2(own.pop('mirostat_tau'))
        if 'adaptive_target' in own:
            self.memory = ls.AdaptiveP(own.pop('adaptive_target'))
        self.budget = self.loop = None
        if 'thinking_budget' in own:
            names = [n for n in own if n.startswith('thinking_')]
            self.budget = ls.ThinkingBudget(**{n[9:]: own.pop(n) for n in names})
        if own.pop('loop_stop', False):
            self.loop = ls.LoopStop(least=own.pop('loop_least'))
        self.sampler = ls.Sampler(temperature=temperature, seed=seed,
                                  adaptive=self.memory, **own)
        self.state = self.sampler.init(1)

    def next(self):
        z, ids = model(self.ids)[None], torch.tensor([self.ids])
        at = len(self.ids) - len(self.prompt)
        text = self.ids[len(self.prompt):]
        if self.loop and self.loop([], text): token = min(self.ends)
        elif self.budget and self.budget.due(ids, z): token = self.budget.end
        else:
            left = self.sampler.filter(z, ids, position=at, state=self.state,
                                       shift=False)
            token = (sample(left, self.seed, at) if self.temperature else
                     left.argmax(-1)).item()
        self.state = self.sampler.update(self.state, z, torch.tensor([token]), ids,
                                         position=at)
        self.ids.append(token)
        return token


def draw(z, request, position):
    "The engine's part: divide by the temperature, draw"
    if not request.temperature: return z.argmax().item()
    return sample((z / request.temperature)[None], request.seed, position).item()


KNOBS = [
    dict(top_n_sigma=1.2), dict(p_less=1), dict(min_p=.1, top_k=7),
    dict(dry_multiplier=2., dry_allowed_length=1), dict(no_repeat_ngram_size=2),
    dict(xtc_probability=.6, xtc_threshold=.05), dict(typical_p=.8, top_h=.7),
    dict(repetition_penalty=1.4, frequency_penalty=.3), dict(ban_tokens=[[1, 2], [3]]),
    dict(mirostat=2, mirostat_tau=2.), dict(mirostat=2, mirostat_tau=3.5),
    dict(adaptive_target=.2, min_p=.02), dict(dynamic_temperature=[.5, 1.5]),
    dict(thinking_budget=4, thinking_start=0, thinking_end=9),
    dict(thinking_budget=7, thinking_start=0, thinking_end=9, thinking_soft=2),
    dict(loop_stop=1, loop_least=3), dict(logit_bias={4: 3.}),
    dict(presence_penalty=1., mirostat=2, mirostat_tau=2., order='vllm')]


def cases(dice, n):
    "Requests: prompts, knobs, temperatures, seeds"
    def one(i):
        prompt = [dice.randrange(V) for _ in range(dice.randrange(1, 6))]
        if dice.random() < .5: prompt.append(0)          # a block of thinking opens
        heat = dice.choice([0, .7, 1., 1., 1.6])
        return prompt, KNOBS[i % len(KNOBS)], heat, dice.randrange(1000)
    return [one(i) for i in range(n)]


class SlotEngine:
    "A toy of vLLM's new runner: slots, rows in any order, rows of drafts, prefill"
    def __init__(self, make, dice, slots=5, drafts=0, State=ns, Context=ns,
                 Params=params, extra=None):
        buffer = lambda *shape: ns(gpu=torch.zeros(*shape, dtype=torch.int32))
        self.all, self.prompt_len, self.total = (
            buffer(slots, 200), buffer(slots), buffer(slots))
        states = State(**dict(extra or {}), max_num_reqs=slots, vocab_size=V,
                       all_token_ids=self.all, prompt_len=self.prompt_len,
                       total_len=self.total)
        self.processor, self.dice, self.drafts = make(states), dice, drafts
        self.Context, self.Params, self.slots = Context, Params, [None] * slots
        self.free = [*range(slots)]

    def add(self, case, length, others=False):
        prompt, knobs, heat, seed = case
        p = self.Params(extra_args=None if others else dict(knobs), temperature=heat,
                        seed=seed, ends=[11])
        slot = self.free.pop(self.dice.randrange(len(self.free)))
        used = self.processor.add_request(slot, p)
        assert used != others
        self.slots[slot] = r = ns(prompt=prompt, ids=[*prompt], temperature=heat,
                                  seed=seed, left=length, case=case, others=others,
                                  read=0)
        self.all.gpu[slot] = self.dice.randrange(V)          # what was there before
        self.all.gpu[slot, :len(prompt)] = torch.tensor(prompt, dtype=torch.int32)
        self.prompt_len.gpu[slot] = self.total.gpu[slot] = len(prompt)
        return r

    def step(self):
        "One step of all requests; gives those that ended"
        live = [i for i, r in enumerate(self.slots) if r]
        self.dice.shuffle(live)
        rows = dict(slot=[], local=[], pos=[], fed=[])
        logits, plan = [], {}
        for slot in live:
            r = self.slots[slot]
            if r.read < len(r.prompt) - 1 and self.dice.random() < .5:   # a chunk
                r.read += 1
                texts, plan[slot] = [r.ids[:r.read]], None
            else:
                r.read = len(r.prompt)
                k = self.dice.randrange(self.drafts + 1)
                right, guess = Alone(*r.case, [11]), [*r.ids]
                for _ in range(len(r.ids) - len(r.prompt)): right.next()
                for _ in range(k):
                    token = right.next()
                    guess.append(token if self.dice.random() < .7 else
                                 self.dice.randrange(V))
                n = len(r.ids)
                texts, plan[slot] = [guess[:n+j] for j in range(k + 1)], guess[n:]
            for j, text in enumerate(texts):
                rows['slot'].append(slot), rows['local'].append(j)
                rows['pos'].append(len(text) - 1), rows['fed'].append(text[-1])
                logits.append(model(text))
        as_ids = lambda v: torch.tensor(v, dtype=torch.int32)
        ends = [max(p + 1 for p, s in zip(rows['pos'], rows['slot']) if s == slot)
                for slot in live]
        ctx = self.Context(
            expanded_idx_mapping=as_ids(rows['slot']), idx_mapping=as_ids(live),
            idx_mapping_np=np.array(live, dtype=np.int32),
            expanded_local_pos=as_ids(rows['local']), input_ids=as_ids(rows['fed']),
            pos=as_ids(rows['pos']).long(), seq_lens_upper_bound_np=np.array(ends))
        self.processor.apply_staged_writes()
        before = torch.stack(logits)
        after, done, at = self.processor.apply(before.clone(), ctx), [], 0
        for slot in live:
            r, guess = self.slots[slot], plan[slot]
            if r.others: assert torch.equal(after[at], before[at])
            if guess is None: at += 1; continue
            for j in range(len(guess) + 1):
                place = len(r.ids) - len(r.prompt)
                token = draw(after[at + j], r, place)
                r.ids.append(token)
                self.all.gpu[slot, len(r.ids)-1] = token
                if j < len(guess) and token != guess[j]: break
            at += len(guess) + 1
            self.total.gpu[slot] = len(r.ids)
            if len(r.ids) - len(r.prompt) >= r.left:
                done.append(r)
                self.slots[slot] = None
                self.free.append(slot)
        return done


def check(r):
    "Are its tokens those that it has alone?"
    alone = Alone(*r.case, [11])
    want = [alone.next() for _ in range(len(r.ids) - len(r.prompt))]
    assert r.ids[len(r.prompt):] == want, r.case


def serve(engine, asked, length):
    "All requests through an engine with fewer slots than requests; how many ended"
    waiting, ended = [*asked], 0
    while waiting or any(engine.slots):
        while waiting and engine.free:
            others = engine.dice.random() < .2
            engine.add(waiting.pop(), engine.dice.randrange(1, length), others)
        for r in engine.step():
            ended += 1
            if not r.others: check(r)
    return ended


class Live:
    "A request in one of the next two engines"
    def __init__(self, case, length, others):
        prompt, self.knobs, self.temperature, self.seed = case
        self.case, self.prompt, self.ids = case, prompt, [*prompt]
        self.output, self.left, self.others = [], length, others

    def take(self, z):
        "A token; has it ended?"
        self.output.append(draw(z, self, len(self.output)))
        self.ids.append(self.output[-1])
        return len(self.output) >= self.left


class BatchEngine:
    "A toy of vLLM's old runner: places in a batch, removed, added, moved, swapped"
    def __init__(self, processor, dice, rows=5, Update=ns, Params=params,
                 directions=ns(UNIDIRECTIONAL=ns(name='UNIDIRECTIONAL'),
                               SWAP=ns(name='SWAP'))):
        self.processor, self.dice, self.rows = processor, dice, rows
        self.Update, self.Params, self.directions = Update, Params, directions
        self.batch, self.gone = {}, []

    def step(self, waiting, length):
        "Refill places, close gaps, swap two, draw; gives those that ended"
        removed, added, moved, dice = sorted(self.gone), [], [], self.dice
        holes = [i for i in range(self.rows) if i not in self.batch]
        while waiting and holes:
            i, others = holes.pop(0), dice.random() < .2
            r = Live(waiting.pop(), dice.randrange(1, length), others)
            p = self.Params(extra_args=None if others else dict(r.knobs),
                            temperature=r.temperature, seed=r.seed, ends=[11])
            added.append((i, p, r.prompt, r.output))
            self.batch[i] = r
            if i in removed and dice.random() < .5: removed.remove(i)
        for hole in range(len(self.batch)):          # rows are dense: the last moves
            if hole not in self.batch:
                last = max(self.batch)
                self.batch[hole] = self.batch.pop(last)
                moved.append((last, hole, self.directions.UNIDIRECTIONAL))
        if len(self.batch) > 1 and dice.random() < .4:
            a, b = dice.sample(sorted(self.batch), 2)
            self.batch[a], self.batch[b] = self.batch[b], self.batch[a]
            moved.append((a, b, self.directions.SWAP))
        changed = removed or added or moved
        self.processor.update_state(self.Update(
            batch_size=len(self.batch), removed=removed, added=added, moved=moved)
            if changed else None)
        self.gone, done = [], []
        if not self.batch: return done
        texts = [self.batch[i].ids for i in range(len(self.batch))]
        before = torch.stack([*map(model, texts)])
        after = self.processor.apply(before.clone())
        for i, r in [*self.batch.items()]:
            if r.others: assert torch.equal(after[i], before[i])
            if r.take(after[i]):
                done.append(self.batch.pop(i))
                self.gone.append(i)
        return done


def serve_batch(engine, asked, length):
    "All requests; how many ended"
    waiting, ended = [*asked], 0
    while waiting or engine.batch:
        for r in engine.step(waiting, length):
            ended += 1
            if not r.others: check(r)
    return ended


class SGLangReq(Live):
    "A request of SGLang, as its processors see it"
    def __init__(self, *given):
        super().__init__(*given)
        greedy = not self.temperature
        self.sampling_params = ns(temperature=1. if greedy else self.temperature,
                                  top_k=1 if greedy else 1 << 30,
                                  sampling_seed=self.seed)
        self.origin_input_ids, self.output_ids = self.prompt, self.output
        self.eos_token_ids, self.to_finish = {11}, None
        self.custom = dict(self.knobs) | {'__req__': weakref.proxy(self)}


def serve_calls(make, dice, asked, length, call=lambda p, z, params: p(z, params)):
    "All requests, by a new processor for each call, rows in any order; how many ended"
    live = [SGLangReq(case, dice.randrange(1, length), dice.random() < .2)
            for case in asked]
    ended = 0
    while live:
        batch = dice.sample(live, min(5, len(live)))
        before = torch.stack([model(r.ids) for r in batch])
        mine = [i for i, r in enumerate(batch) if not r.others]
        after = before.clone()
        custom = [batch[i].custom for i in mine]
        if mine: after[mine] = call(make(), before[mine], custom)
        for r, z in zip(batch, after):
            if r.take(z):
                live.remove(r)
                ended += 1
                if not r.others: check(r)
    return ended
