package records

import (
	"slices"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (rs *Records) settingNoun() *Noun[resource.Setting, *resource.Setting] {
	return &Noun[resource.Setting, *resource.Setting]{
		rs: rs, kind: "setting", prefix: "",
		all:    func(Query) []*resource.Setting { return rs.allSettings() },
		find:   rs.findSetting,
		unset:  unsetSetting,
		hidden: []string{"type", "default", "help", "unset"},
		check:  rs.checkSetting,
		put:    PutSetting,
		remove: func(id string) fsm.Command { return fsm.DeleteSetting{ID: id} },
	}
}

// checkSetting refuses a name of a budget that is not there. A file may give it before there is one: requests that
// need it are refused until then.
func (rs *Records) checkSetting(_ Caller, _, next *resource.Setting) error {
	settings := resource.DefaultSettings()
	if next.ID != resource.SettingCustomerBudget || settings.Set(next.ID, next.Value) != nil || settings.CustomerBudget == "" {
		return nil
	}
	if _, ok := rs.cfg.State.Catalog().Shared(settings.CustomerBudget); !ok {
		return invalid("value", "there is no budget with the id or name "+settings.CustomerBudget)
	}
	return nil
}

// allSettings are those that are set and, with their defaults, all others that there are.
func (rs *Records) allSettings() []*resource.Setting {
	all := slices.Clone(rs.cfg.State.Catalog().Tables().Settings)
	for _, info := range resource.SettingInfos() {
		if _, ok := rs.findSetting(info.Name); !ok {
			s, _ := unsetSetting(info.Name)
			all = append(all, s)
		}
	}
	return all
}

// unsetSetting is a setting with its default; false: there is none of the name.
func unsetSetting(name string) (*resource.Setting, bool) {
	info, ok := resource.LookupSetting(name)
	if !ok {
		return nil, false
	}
	return &resource.Setting{Meta: resource.Meta{ID: name}, Value: info.Default}, true
}

func (rs *Records) findSetting(ref string) (*resource.Setting, bool) {
	return find(rs.cfg.State.Catalog().Tables().Settings, ref)
}

// PutSetting makes the command that writes a setting; read is the version that was read, 0 for none.
func PutSetting(next *resource.Setting, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutSetting{Setting: e, Read: read}, err
}
