package resource

import (
	"encoding/json"
	"errors"

	"github.com/conclave-llm/conclave/resource/channel"
)

// SettingAlerts is the name of the setting that says where alerts go.
const SettingAlerts = "alerts"

func readAlerts(s *Settings, v json.RawMessage) (err error) {
	s.Alerts, err = channel.Parse(v)
	return invalidChannel("value.", err)
}

// invalidChannel makes an *Invalid of an error of package channel; before comes before its field.
func invalidChannel(before string, err error) error {
	if e, ok := errors.AsType[*channel.Error](err); ok {
		if e.Field == "value" {
			before = ""
		}
		return invalidf(before+e.Field, "%s", e.Reason)
	}
	return err
}
