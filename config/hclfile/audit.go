package hclfile

import (
	"encoding/json"
	"fmt"

	"github.com/hashicorp/hcl/v2"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/resource"
)

// settingAudit is the setting that an audit block declares.
const settingAudit = "audit"

type auditBlock struct {
	Retention string      `hcl:"retention,optional"`
	Sinks     []sinkBlock `hcl:"sink,block"`
}

type sinkBlock struct {
	Kind     string `hcl:"kind,label"`
	Name     string `hcl:"name,optional"`
	Path     string `hcl:"path,optional"`
	Address  string `hcl:"address,optional"`
	Facility string `hcl:"facility,optional"`
	Callback string `hcl:"callback,optional"`
}

// audit reads the block that says how long audit entries are kept and where they go.
func (d *decoder) audit(b *hcl.Block) {
	var in auditBlock
	before := len(d.diags)
	if !d.unique("setting", settingAudit, b.DefRange) || !d.body(b.Body, &in) {
		return
	}
	value := struct {
		Retention string               `json:"retention,omitempty"`
		Sinks     []resource.AuditSink `json:"sinks,omitempty"`
	}{Retention: in.Retention}
	for _, s := range in.Sinks {
		value.Sinks = append(value.Sinks, sinkOf(s))
	}
	raw, err := json.Marshal(value)
	if err != nil {
		d.report(b.DefRange, "Invalid audit block", "%s.", fmt.Errorf("encode: %w", err))
		return
	}
	meta := config.Owned()
	meta.ID = settingAudit
	s := config.Setting{Position: config.PositionOf(b.DefRange), Resource: resource.Setting{Meta: meta, Value: raw}}
	if d.valid("audit", &s.Resource, b.Body, b.DefRange, before) {
		d.out.Resources.Settings = append(d.out.Resources.Settings, s)
	}
}

func sinkOf(s sinkBlock) resource.AuditSink {
	return resource.AuditSink{
		Name: s.Name, Kind: s.Kind, Path: s.Path, Address: s.Address, Facility: s.Facility, Callback: s.Callback,
	}
}
