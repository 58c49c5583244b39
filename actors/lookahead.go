package actors

import (
	"slices"

	"github.com/orrery-ai/orrery/engine"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/residence"
)

// lookahead says which steps of a job may be handed out before the tokens that they feed are known. It is pure: it
// knows what the conductor does of the job, and at most one step is ever behind the one whose token is waited for. If
// that token ends the job it has been fed then, which else the next job would have done; so nothing of it is in the
// cache that would have to be taken out.
type lookahead struct {
	most, produced int  // tokens to choose, and those that have been
	due            int  // the count of tokens at which a switch is to be asked for, or -1
	watched        bool // logits are handed out, or a trace is recorded: a step waits for the one before
	alone          bool // no other sequence has a job
	spread         bool // owners ask other nodes for attention
	owners         []residence.Owner
	relayed        []residence.Owner // of the sequence's last step that was relayed, nil if the last was not
}

// each reports whether a step of so many tokens, which chooses one, may be relayed: then each owner says when it is
// done. Where owners ask each other it is not: a device would wait for the next step's messages while it answers those
// of this one, and takes longer for that.
func (l *lookahead) each(tokens int) bool {
	return tokens == 1 && len(l.owners) > 1 && !l.spread && !l.watched && distinct(l.owners)
}

// followed reports whether another step comes behind one of so many tokens that chooses one, when ahead others are to
// choose before it. With other sequences at work none does: when its token is there it goes with theirs.
func (l *lookahead) followed(tokens, ahead int) bool {
	return l.produced+ahead+1 < l.most && !l.watched && l.alone && (len(l.owners) == 1 || l.each(tokens))
}

// follows reports whether a step may be handed out behind one of so many tokens, whose token alone is waited for. Other nodes' devices must
// have relayed the step before it: only they know its token in time.
func (l *lookahead) follows(tokens int) bool {
	return l.followed(tokens, 0) && (l.due < 0 || l.produced+1 < l.due) && (len(l.owners) == 1 || slices.Equal(l.owners, l.relayed))
}

// want is what a step of so many tokens is to give back.
func (l *lookahead) want(j *runningJob, tokens int, token bool) engine.Want {
	return engine.Want{Token: token, Sampling: j.Sampling, Logits: j.Logits != nil, Each: token && l.each(tokens), Followed: token && l.followed(tokens, 0)}
}

// behind is want of the step that follows one whose token is waited for.
func (l *lookahead) behind(j *runningJob) engine.Want {
	return engine.Want{Token: true, Sampling: j.Sampling, Each: l.each(1), Follows: true, Followed: l.followed(1, 1)}
}

// results is how many nodes say when a step is done.
func (l *lookahead) results(w engine.Want) int {
	if w.Each {
		return len(l.owners)
	}
	return 1
}

// distinct reports whether no node is the owner of layers twice.
func distinct(owners []residence.Owner) bool {
	for i, o := range owners {
		if slices.ContainsFunc(owners[:i], func(p residence.Owner) bool { return p.Node == o.Node }) {
			return false
		}
	}
	return true
}

// look is what a sequence's job allows now.
func (c *conductor) look(s *sequence) *lookahead {
	j := s.job
	l := &lookahead{most: j.MaxTokens, produced: j.produced, due: -1, watched: j.Logits != nil || c.handle.recorder.Load() != nil, alone: true,
		owners: s.machine.Epoch().Owners, relayed: s.relayed, spread: s.machine.Epoch().Mode != placement.Pipeline}
	if len(j.switches) > 0 {
		l.due = j.switches[0].Token
	}
	for _, o := range c.seqs {
		l.alone = l.alone && (o == s || o.job == nil)
	}
	return l
}
