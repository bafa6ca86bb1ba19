package node

import (
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// alerts tells of budgets that have passed their soft limit. Every node applies the entry
// that passes one; the leader alone speaks, so that each is told once.
type alerts struct {
	leads atomic.Pointer[func() bool] // nil: not known yet, for entries are applied while consensus starts
	log   *slog.Logger
	soft  *prometheus.CounterVec // by kind of holder
}

func newAlerts(log *slog.Logger, reg prometheus.Registerer) *alerts {
	a := &alerts{log: log, soft: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "conclave_budget_soft_limits_passed_total",
		Help: "Windows of budgets whose spend passed the soft limit while this node led, by kind of holder.",
	}, []string{"kind"})}
	reg.MustRegister(a.soft)
	return a
}

// passed tells of the soft limits that a batch of entries has passed.
func (a *alerts) passed(all []fsm.SoftLimit) {
	if len(all) == 0 {
		return
	}
	if leads := a.leads.Load(); leads == nil || !(*leads)() {
		return
	}
	for _, s := range all {
		kind, id, name, _ := s.Account.Split()
		a.soft.WithLabelValues(kind).Inc()
		a.log.Warn("budget passed its soft limit", "holder", kind, "holder_id", id, "budget", name,
			"soft_limit", amount(s.Unit, s.Soft), "limit", amount(s.Unit, s.Limit), "spent", amount(s.Unit, s.Settled),
			"window_start", s.Window.Start.Std(), "window_end", s.Window.End.Std())
	}
}

// amount writes an amount of a budget for a person.
func amount(u resource.Unit, m resource.Money) any {
	if u == resource.UnitTokens || u == resource.UnitRequests {
		return int64(m)
	}
	return m.String()
}
