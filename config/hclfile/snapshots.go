package hclfile

import (
	"encoding/json"

	"github.com/hashicorp/hcl/v2"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/resource"
)

// settingSnapshots is the setting that a snapshots block declares.
const settingSnapshots = "snapshots"

type snapshotsBlock struct {
	Every string    `hcl:"every,optional"`
	Keep  *int      `hcl:"keep,optional"`
	Dir   string    `hcl:"dir,optional"`
	S3    []s3Block `hcl:"s3,block"`
}

type s3Block struct {
	Endpoint   string `hcl:"endpoint,optional"`
	Bucket     string `hcl:"bucket"`
	Prefix     string `hcl:"prefix,optional"`
	Region     string `hcl:"region,optional"`
	Credential string `hcl:"credential,optional"`
}

// snapshots reads the block that says when snapshots are made and where they are kept.
func (d *decoder) snapshots(b *hcl.Block) {
	var in snapshotsBlock
	before := len(d.diags)
	if !d.unique("setting", settingSnapshots, b.DefRange) || !d.body(b.Body, &in) {
		return
	}
	if len(in.S3) > 1 {
		d.report(b.DefRange, "Invalid snapshots block", "Snapshots are kept in one store; the block has %d s3 blocks.", len(in.S3))
		return
	}
	value := struct {
		Every string            `json:"every,omitempty"`
		Keep  *int              `json:"keep,omitempty"`
		Dir   string            `json:"dir,omitempty"`
		S3    *resource.S3Store `json:"s3,omitempty"`
	}{Every: in.Every, Keep: in.Keep, Dir: in.Dir}
	if len(in.S3) == 1 {
		s := resource.S3Store(in.S3[0])
		value.S3 = &s
	}
	raw, err := json.Marshal(value)
	if err != nil {
		d.report(b.DefRange, "Invalid snapshots block", "%s.", err)
		return
	}
	meta := config.Owned()
	meta.ID = settingSnapshots
	s := config.Setting{Position: config.PositionOf(b.DefRange), Resource: resource.Setting{Meta: meta, Value: raw}}
	if d.valid("snapshots", &s.Resource, b.Body, b.DefRange, before) {
		d.out.Resources.Settings = append(d.out.Resources.Settings, s)
	}
}
