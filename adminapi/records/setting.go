package records

import (
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (rs *Records) settingNoun() *Noun[resource.Setting, *resource.Setting] {
	return &Noun[resource.Setting, *resource.Setting]{
		rs: rs, kind: "setting", prefix: "",
		all:    func(Query) []*resource.Setting { return rs.cfg.State.Catalog().Tables().Settings },
		find:   rs.findSetting,
		put:    PutSetting,
		remove: func(id string) fsm.Command { return fsm.DeleteSetting{ID: id} },
	}
}

func (rs *Records) findSetting(ref string) (*resource.Setting, bool) {
	return find(rs.cfg.State.Catalog().Tables().Settings, ref)
}

// PutSetting makes the command that writes a setting; read is the version that was read, 0 for none.
func PutSetting(next *resource.Setting, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutSetting{Setting: e, Read: read}, err
}
