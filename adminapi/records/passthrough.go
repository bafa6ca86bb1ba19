package records

import (
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (rs *Records) passThroughNoun() *Noun[resource.PassThroughEndpoint, *resource.PassThroughEndpoint] {
	return &Noun[resource.PassThroughEndpoint, *resource.PassThroughEndpoint]{
		rs: rs, kind: "pass_through_endpoint", path: "pass-through-endpoints", prefix: "pt",
		all: func(Query) []*resource.PassThroughEndpoint { return rs.cfg.State.Catalog().Tables().PassThrough },
		find: func(ref string) (*resource.PassThroughEndpoint, bool) {
			return find(rs.cfg.State.Catalog().Tables().PassThrough, ref)
		},
		put:    PutPassThrough,
		remove: func(id string) fsm.Command { return fsm.DeletePassThrough{ID: id} },
		named:  func(e *resource.PassThroughEndpoint) *map[string]*resource.Sealed { return &e.Secrets },
		check: func(_ Caller, now, next *resource.PassThroughEndpoint) error {
			if err := CheckPassThroughPath(rs.cfg.State.Catalog().Tables().PassThrough, next); err != nil {
				return err
			}
			if now != nil && keeps(next.Secrets, now.Secrets) {
				return CheckPassThroughMove(now, next)
			}
			return nil
		},
	}
}

// CheckPassThroughPath refuses an endpoint at the path of another.
func CheckPassThroughPath(all []*resource.PassThroughEndpoint, next *resource.PassThroughEndpoint) error {
	for _, e := range all {
		if e.ID != next.ID && e.Name != next.Name && e.Path == next.Path {
			return invalid("path", "the endpoint "+e.Name+" has it already")
		}
	}
	return nil
}

// CheckPassThroughMove refuses to give stored secrets to another host.
func CheckPassThroughMove(now, next *resource.PassThroughEndpoint) error {
	if movesHost(now.Target, next.Target) {
		return &resource.Invalid{Field: "secrets", Reason: "give the secrets again: the stored ones were not given for this host"}
	}
	return nil
}

// PutPassThrough makes the command that writes an endpoint; read is the version that was read, 0 for none.
func PutPassThrough(next *resource.PassThroughEndpoint, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutPassThrough{Endpoint: e, Read: read}, err
}
