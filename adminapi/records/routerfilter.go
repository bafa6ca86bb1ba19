package records

import (
	"encoding/json"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (rs *Records) routerFilterNoun() *Noun[resource.RouterFilter, *resource.RouterFilter] {
	return &Noun[resource.RouterFilter, *resource.RouterFilter]{
		rs: rs, kind: "router_filter", prefix: "rf",
		all:    func(Query) []*resource.RouterFilter { return rs.cfg.State.Catalog().Tables().RouterFilters },
		find:   rs.findRouterFilter,
		put:    PutRouterFilter,
		remove: func(id string) fsm.Command { return fsm.DeleteRouterFilter{ID: id} },
		named:  func(r *resource.RouterFilter) *map[string]*resource.Sealed { return &r.Secrets },
		config: func(r *resource.RouterFilter) json.RawMessage { return r.Config },
		check: func(_ Caller, now, next *resource.RouterFilter) error {
			var old *resource.PluginUse
			if now != nil {
				old = &now.PluginUse
			}
			return rs.checkUse("router_filter", old, &next.PluginUse)
		},
	}
}

func (rs *Records) findRouterFilter(ref string) (*resource.RouterFilter, bool) {
	return find(rs.cfg.State.Catalog().Tables().RouterFilters, ref)
}

// PutRouterFilter makes the command that writes a router filter; read is the version that was read, 0 for none.
func PutRouterFilter(next *resource.RouterFilter, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutRouterFilter{Record: e, Read: read}, err
}
