package orrery

import (
	"context"
	"time"

	"github.com/orrery-ai/orrery/actors"
	"github.com/orrery-ai/orrery/cluster"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/steering"
)

// Auto, as the mode of a model or a session, has the mode chosen: at the start of each generation the one that
// is predicted to be done with it first, and another one while it goes on, when its context has grown past
// where that is faster. Measured steps correct the predictions. [Stats] has what was chosen, and why. Whoever
// switches such a session chooses from then on. See package steering for the rules.
const Auto = placement.Auto

// Choice is a mode that Auto has chosen, and why.
type Choice = steering.Decision

// predictWithin bounds how long the measuring of links may take before Auto goes by measured steps only.
const predictWithin = 20 * time.Second

// steer has a conductor choose modes by what the nodes and the ways between them were measured to do, once for
// each loading of the model. The caller is the one that loads.
func (m *Model) steer(ctx context.Context, c *actors.Conductor) {
	m.mu.Lock()
	steered, nodes := m.steered == c, m.nodes
	m.steered = c
	m.mu.Unlock()
	if steered {
		return
	}
	within, cancel := context.WithTimeout(ctx, predictWithin)
	defer cancel()
	p, err := m.predictor(within, c, nodes)
	if err != nil && ctx.Err() != nil { // nobody waits for it any more: the next one that asks has it tried again
		m.mu.Lock()
		m.steered = nil
		m.mu.Unlock()
	}
	if err != nil {
		m.cluster.log.Warn("auto goes by measured steps only: nothing could be predicted", "model", m.ref, "err", err)
		c.Steer(nil, err.Error())
		return
	}
	c.Steer(p, "")
}

func (m *Model) predictor(ctx context.Context, c *actors.Conductor, nodes []cluster.Node) (steering.Predictor, error) {
	costs, err := m.Costs(ctx)
	if err != nil {
		return nil, err
	}
	measured, err := m.cluster.measureLinks(ctx, nodes)
	if err != nil {
		return nil, err
	}
	return c.Forecast(costs, matrixOf(nodes, measured))
}
