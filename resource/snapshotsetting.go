package resource

import (
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/resource/shape"
)

// Bounds and defaults of scheduled snapshots.
const (
	minSnapshotEvery = time.Minute
	defaultKeep      = 24
	maxKeep          = 10_000
)

// SnapshotSettings say when the leader makes a snapshot for keeping, and where it is kept. They are
// the value of the setting "snapshots".
type SnapshotSettings struct {
	Every time.Duration // 0: none is made by itself
	Keep  int           // the newest stay
	Dir   string        // on the leader, relative to its data folder; "": backups
	S3    *S3Store      // instead of a folder; nil: none
}

// S3Store is where an S3-compatible store keeps snapshots.
type S3Store struct {
	Endpoint   string `json:"endpoint,omitempty"` // default: Amazon's of the region
	Bucket     string `json:"bucket"`
	Prefix     string `json:"prefix,omitempty"` // of the names, such as "conclave/"
	Region     string `json:"region,omitempty"` // default us-east-1
	Credential string `json:"credential,omitempty"`
}

// URL is where the bucket is.
func (s *S3Store) URL() string {
	base := s.Endpoint
	if base == "" {
		base = "https://s3." + s.Region + ".amazonaws.com"
	}
	return strings.TrimRight(base, "/") + "/" + s.Bucket
}

// ParseSnapshots reads the value of the setting "snapshots", strictly.
func ParseSnapshots(value json.RawMessage) (SnapshotSettings, error) {
	var in struct {
		Every string   `json:"every"`
		Keep  *int     `json:"keep"`
		Dir   string   `json:"dir"`
		S3    *S3Store `json:"s3"`
	}
	if err := shape.ReadKnown(value, &in); err != nil {
		return SnapshotSettings{}, invalidShape("", err)
	}
	out := SnapshotSettings{Keep: defaultKeep, Dir: in.Dir, S3: in.S3}
	if in.Every != "" {
		d, err := time.ParseDuration(in.Every)
		if err != nil || d < minSnapshotEvery {
			return SnapshotSettings{}, invalidf("every", "%q is not a duration of a minute or more, such as 1h", in.Every)
		}
		out.Every = d
	}
	if in.Keep != nil {
		if out.Keep = *in.Keep; out.Keep < 1 || out.Keep > maxKeep {
			return SnapshotSettings{}, invalidf("keep", "%d is not 1 to %d", out.Keep, maxKeep)
		}
	}
	if in.S3 == nil {
		return out, nil
	}
	if in.Dir != "" {
		return SnapshotSettings{}, invalidf("s3", "snapshots are kept in dir or in s3, not in both")
	}
	return out, out.S3.check()
}

// check validates the store and fills in the region.
func (s *S3Store) check() error {
	if s.Region == "" {
		s.Region = "us-east-1"
	}
	if s.Bucket == "" || strings.ContainsAny(s.Bucket, "/?# ") {
		return invalidf("s3.bucket", "%q is not the name of a bucket", s.Bucket)
	}
	if strings.HasPrefix(s.Prefix, "/") || strings.ContainsAny(s.Prefix, "?#\x00") {
		return invalidf("s3.prefix", "%q is not the beginning of a name, such as conclave/", s.Prefix)
	}
	if strings.ContainsAny(s.Region, "/?#:@ ") {
		return invalidf("s3.region", "%q is not a region such as us-east-1", s.Region)
	}
	if s.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(s.Endpoint)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return invalidf("s3.endpoint", "%q is not a URL such as https://minio.corp:9000", s.Endpoint)
	}
	return nil
}
