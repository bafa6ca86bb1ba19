package capture

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/adminapi/spend"
	"github.com/conclave-llm/conclave/resource"
)

// Routes lists LiteLLM's path. The one who serves it authorises the caller.
func (c *Checker) Routes() []wire.Route {
	return []wire.Route{{ID: "litellm-spend-capture-rate", Method: http.MethodGet, Pattern: "/spend/capture_rate", Handler: c.serve}}
}

// serve answers /spend/capture_rate.
func (c *Checker) serve(w http.ResponseWriter, r *http.Request, _ records.Caller) error {
	q, err := questionOf(r.URL.Query())
	if err != nil {
		return err
	}
	a, missing, err := c.Check(r.Context(), q)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		w.Header().Set(spend.HeaderMissing, strings.Join(missing, ", "))
	}
	return wire.Answer(w, records.Written{}, a)
}

// questionOf reads the parameters. Those that cannot be are 422, and a range that cannot be is 400.
func questionOf(v url.Values) (q Question, err error) {
	if q.First, err = day(v, "start_date"); err != nil {
		return q, err
	}
	if q.Last, err = day(v, "end_date"); err != nil {
		return q, err
	}
	if q.Provider = v.Get("provider"); !v.Has("provider") {
		q.Provider = openAI
	}
	if !slices.Contains(resource.CaptureProviders, q.Provider) {
		return q, unfit("provider", "is not one of those whose bills can be read: "+strings.Join(resource.CaptureProviders, ", "))
	}
	q.Threshold = resource.CaptureThreshold
	if v.Has("threshold") {
		q.Threshold, err = strconv.ParseFloat(v.Get("threshold"), 64)
		if err != nil || !(q.Threshold > 0 && q.Threshold <= 1) {
			return q, unfit("threshold", "is no number over 0 and at most 1")
		}
	}
	q.Projects = v["project_ids"]
	if err := resource.CheckProjects("project_ids", q.Projects); err != nil {
		return q, unfit("project_ids", err.Error())
	}
	if q.Last.Before(q.First) {
		return q, wire.Invalid("end_date", "is before start_date")
	}
	if q.Last.Sub(q.First) >= resource.MaxCaptureDays*24*time.Hour {
		return q, wire.Invalid("end_date", "is more than "+strconv.Itoa(resource.MaxCaptureDays)+" days after start_date")
	}
	return q, nil
}

func day(v url.Values, name string) (time.Time, error) {
	t, err := time.Parse(time.DateOnly, v.Get(name))
	if err != nil {
		return t, unfit(name, "is needed, as a day such as 2026-01-31")
	}
	return t, nil
}

// unfit is what LiteLLM answers to a parameter that it does not take.
func unfit(field, reason string) error {
	return &client.Problem{
		Title: http.StatusText(http.StatusUnprocessableEntity), Status: http.StatusUnprocessableEntity, Code: "invalid",
		Detail: field + " " + reason, Fields: []client.Field{{Name: field, Reason: reason}},
	}
}
