package resource

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/resource/shape"
)

// What a CaptureCheck has where its setting does not say, and the most days.
const (
	CaptureThreshold = 0.9
	MaxCaptureDays   = 180
	captureDays      = 7
	openAIBase       = "https://api.openai.com/v1"
	maxProjects      = 100
)

// CaptureProviders are the providers whose bills can be read.
var CaptureProviders = []string{"openai"}

// CaptureCheck says which bills are compared with what was recorded, once a day for the cluster. It is the
// value of the setting "spend_capture_rate_check".
type CaptureCheck struct {
	Providers []string
	Threshold float64  // of the bill that is recorded, over 0 and at most 1; less raises an alert
	Days      int      // how many days, in UTC, before the present one
	Projects  []string // of OpenAI, whose bill counts; empty: all of the organization
	// APIBase is where OpenAI's costs are read, without a slash at its end.
	APIBase string
}

// DefaultCaptureCheck is the check of whoever says nothing about it.
func DefaultCaptureCheck() CaptureCheck {
	return CaptureCheck{Providers: slices.Clone(CaptureProviders), Threshold: CaptureThreshold, Days: captureDays, APIBase: openAIBase}
}

// readCaptureCheck reads the value, strictly; null is no check.
func readCaptureCheck(s *Settings, v json.RawMessage) error {
	if string(v) == "null" {
		s.CaptureCheck = nil
		return nil
	}
	var in struct {
		Providers []string `json:"providers"`
		Threshold *float64 `json:"threshold"`
		Days      *int     `json:"lookback_days"`
		Projects  []string `json:"openai_project_ids"`
		APIBase   string   `json:"openai_api_base"`
	}
	if err := shape.ReadKnown(v, &in); err != nil {
		return invalidShape("value", err)
	}
	c := DefaultCaptureCheck()
	c.Projects = in.Projects
	if in.Providers != nil {
		c.Providers = in.Providers
	}
	if in.Threshold != nil {
		c.Threshold = *in.Threshold
	}
	if in.Days != nil {
		c.Days = *in.Days
	}
	if in.APIBase != "" {
		c.APIBase = strings.TrimRight(in.APIBase, "/")
	}
	if err := c.validate(); err != nil {
		return err
	}
	s.CaptureCheck = &c
	return nil
}

func (c *CaptureCheck) validate() error {
	if err := c.validateProviders(); err != nil {
		return err
	}
	if c.Threshold <= 0 || c.Threshold > 1 {
		return invalidf("value.threshold", "%v is not over 0 and at most 1", c.Threshold)
	}
	if c.Days < 1 || c.Days > MaxCaptureDays {
		return invalidf("value.lookback_days", "%d is not 1 to %d", c.Days, MaxCaptureDays)
	}
	if err := CheckProjects("value.openai_project_ids", c.Projects); err != nil {
		return err
	}
	u, err := url.Parse(c.APIBase)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || len(c.APIBase) > 2048 {
		return invalidf("value.openai_api_base", "%.100q is not a URL such as %s", c.APIBase, openAIBase)
	}
	return nil
}

func (c *CaptureCheck) validateProviders() error {
	if len(c.Providers) == 0 {
		return invalidf("value.providers", "names no provider; leave it out for all whose bills can be read: %s", strings.Join(CaptureProviders, ", "))
	}
	for i, name := range c.Providers {
		if !slices.Contains(CaptureProviders, name) {
			return invalidf(fmt.Sprintf("value.providers[%d]", i), "%.60q is not one of those whose bills can be read: %s", name, strings.Join(CaptureProviders, ", "))
		}
		if slices.Contains(c.Providers[:i], name) {
			return invalidf(fmt.Sprintf("value.providers[%d]", i), "%q stands there twice", name)
		}
	}
	return nil
}

// CheckProjects refuses lists of a provider's projects that cannot be.
func CheckProjects(field string, ids []string) error {
	if len(ids) > maxProjects {
		return invalidf(field, "%d are more than %d", len(ids), maxProjects)
	}
	return validNames(field, ids)
}
