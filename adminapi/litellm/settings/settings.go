// Package settings is LiteLLM's paths of the single fields of its general_settings. Each field that has a
// meaning here is a setting of the cluster; the others are refused, with the reason.
package settings

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/config/litellm"
	"github.com/conclave-llm/conclave/resource"
)

type api struct{ rs *records.Records }

// Routes lists the paths.
func Routes(rs *records.Records) []wire.Route {
	a := &api{rs}
	return []wire.Route{
		{ID: "litellm-config-field-update", Method: http.MethodPost, Pattern: "/config/field/update", Handler: a.update},
		{ID: "litellm-config-field-delete", Method: http.MethodPost, Pattern: "/config/field/delete", Handler: a.remove},
		{ID: "litellm-config-field-info", Method: http.MethodGet, Pattern: "/config/field/info", Handler: a.info},
		{ID: "litellm-config-list", Method: http.MethodGet, Pattern: "/config/list", Handler: a.list},
	}
}

// general is the only type of fields that LiteLLM has.
const general = "general_settings"

func checkType(configType string) error {
	if configType != general {
		return wire.Invalid("config_type", "is not "+general)
	}
	return nil
}

// fieldOf finds the field of a name.
func fieldOf(name string) (litellm.GeneralKey, error) {
	if name == "" {
		return litellm.GeneralKey{}, wire.Invalid("field_name", "is missing")
	}
	k, err := litellm.LookupGeneral(name)
	if err != nil {
		return k, wire.Invalid("field_name", err.Error())
	}
	return k, nil
}

// take reads the field that a body is about, and what it says it is, nil for nothing.
func take(r *http.Request) (k litellm.GeneralKey, value json.RawMessage, err error) {
	in, err := wire.ReadBody(r)
	if err != nil {
		return k, nil, err
	}
	var configType, name string
	for field, v := range map[string]any{"config_type": &configType, "field_name": &name} {
		if err := in.Take(field, v); err != nil {
			return k, nil, err
		}
	}
	if err := checkType(configType); err != nil {
		return k, nil, err
	}
	k, err = fieldOf(name)
	return k, in["field_value"], err
}

func (a *api) update(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	k, value, err := take(r)
	if err != nil {
		return err
	}
	if len(value) == 0 || records.IsNull(value) {
		return wire.Invalid("field_value", "is missing; /config/field/delete gives a field its default")
	}
	ours, err := k.Take(value)
	if err != nil {
		return wire.Invalid("field_value", err.Error())
	}
	_, wr, err := a.rs.Settings.Replace(r.Context(), by, k.Setting, 0, records.Document{"value": ours})
	if err != nil {
		return renamed(err)
	}
	return a.answer(w, wr)
}

// renamed names the field of LiteLLM's body that is wrong.
func renamed(err error) error {
	if in, ok := errors.AsType[*resource.Invalid](err); ok && in.Field == "value" {
		return wire.Invalid("field_value", in.Reason)
	}
	return err
}

// remove gives a field its default.
func (a *api) remove(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	k, _, err := take(r)
	if err != nil {
		return err
	}
	if _, ok := a.rs.Settings.Find(k.Setting); !ok {
		return notSet(k.Name)
	}
	wr, err := a.rs.Settings.Delete(r.Context(), by, k.Setting)
	if err != nil {
		return err
	}
	return a.answer(w, wr)
}

func notSet(name string) error {
	return wire.Invalid("field_name", name+" is not set; it has its default")
}

// answer writes the row of LiteLLM's table: all fields that are set.
func (a *api) answer(w http.ResponseWriter, wr records.Written) error {
	set := map[string]json.RawMessage{}
	for _, k := range litellm.GeneralKeys() {
		v, ok, err := a.value(&k)
		if err != nil {
			return err
		}
		if ok {
			set[k.Name] = v
		}
	}
	return wire.Answer(w, wr, map[string]any{"param_name": general, "param_value": set})
}

// value is what a field is set to; false: it has its default.
func (a *api) value(k *litellm.GeneralKey) (json.RawMessage, bool, error) {
	s, ok := a.rs.Settings.Find(k.Setting)
	if !ok {
		return nil, false, nil
	}
	v, err := k.Show(s.Value)
	return v, true, err
}

// info tells what a field is set to.
func (a *api) info(w http.ResponseWriter, r *http.Request, _ records.Caller) error {
	k, err := fieldOf(r.URL.Query().Get("field_name"))
	if err != nil {
		return err
	}
	v, ok, err := a.value(&k)
	if err != nil {
		return err
	}
	if !ok {
		return notSet(k.Name)
	}
	return wire.Answer(w, records.Written{}, map[string]any{"field_name": k.Name, "field_value": v})
}

// row is a field with what it is set to, as LiteLLM lists it.
type row struct {
	Name    string          `json:"field_name"`
	Type    string          `json:"field_type"`
	Help    string          `json:"field_description"`
	Value   json.RawMessage `json:"field_value"`  // null: it has its default
	Stored  *bool           `json:"stored_in_db"` // false: the configuration file says it; null: nobody does
	Default json.RawMessage `json:"field_default_value"`
	Premium bool            `json:"premium_field"`
	Nested  []row           `json:"nested_fields"`
	Setting string          `json:"setting"` // what the field is here
}

// types are LiteLLM's names of types by ours.
var types = map[string]string{"boolean": "Boolean", "integer": "Integer", "object": "Dict"}

// typeOf is LiteLLM's name of the type of a field, by its default, or, if that is null, by the setting's type.
func typeOf(info *resource.SettingInfo, initial json.RawMessage) string {
	switch initial[0] {
	case '{':
		return "Dict"
	case '[':
		return "List"
	case '"':
		return "String"
	}
	return types[info.Type]
}

// list tells of every field that has a meaning here.
func (a *api) list(w http.ResponseWriter, r *http.Request, _ records.Caller) error {
	if err := checkType(r.URL.Query().Get("config_type")); err != nil {
		return err
	}
	rows := []row{}
	for _, k := range litellm.GeneralKeys() {
		info, ok := resource.LookupSetting(k.Setting)
		if !ok {
			continue
		}
		initial, err := k.Show(info.Default)
		if err != nil {
			return err
		}
		v, set, err := a.value(&k)
		if err != nil {
			return err
		}
		one := row{Name: k.Name, Type: typeOf(&info, initial), Help: info.Help, Value: v, Default: initial, Setting: k.Setting}
		if s, ok := a.rs.Settings.Find(k.Setting); set && ok {
			one.Stored = new(s.Owner != resource.OwnerFile)
		}
		rows = append(rows, one)
	}
	return wire.Answer(w, records.Written{}, rows)
}
