package models

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// warnWithin is within how many days an end is imminent, if nobody says; mostWithin how many may be said.
const warnWithin, mostWithin = 30, 100_000

// deprecation is a deployment whose model ends at its provider.
type deprecation struct {
	Model    string `json:"model_name"`
	Upstream string `json:"litellm_model"`
	Date     string `json:"deprecation_date"`
	Days     int    `json:"days_until_deprecation"` // negative: it has ended
	Status   string `json:"status"`
	Provider string `json:"litellm_provider"`
	ID       string `json:"model_id"`
}

// deprecations lists the deployments whose model_info names a deprecation_date. The price table has no such days, so that
// those of nobody else are known.
func (a *api) deprecations(w http.ResponseWriter, r *http.Request, _ records.Caller) error {
	within := warnWithin
	if text := r.URL.Query().Get("warn_within_days"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > mostWithin {
			return wire.Invalid("warn_within_days", "is not a number of days")
		}
		within = n
	}
	out := map[string][]deprecation{"deprecated": {}, "imminent": {}, "upcoming": {}}
	cat, today := a.cfg.State.Catalog(), a.cfg.Now().UTC().Truncate(24*time.Hour)
	for _, m := range cat.Tables().Models {
		for _, d := range cat.Deployments(m.ID) {
			at, ok := endOf(d)
			if !ok {
				continue
			}
			one := deprecation{
				Model: m.Name, Upstream: d.Provider + "/" + cmp.Or(d.Upstream, m.Name), Date: at.Format(time.DateOnly), Days: int(at.Sub(today).Hours() / 24),
				Provider: d.Provider, ID: d.ID, Status: "upcoming",
			}
			switch {
			case one.Days < 0:
				one.Status = "deprecated"
			case one.Days <= within:
				one.Status = "imminent"
			}
			out[one.Status] = append(out[one.Status], one)
		}
	}
	for _, list := range out {
		slices.SortStableFunc(list, func(x, y deprecation) int { return cmp.Compare(x.Days, y.Days) })
	}
	return wire.Answer(w, records.Written{}, map[string]any{
		"deprecated": out["deprecated"], "imminent": out["imminent"], "upcoming": out["upcoming"], "warn_within_days": within,
	})
}

// endOf is the day on which the model of a deployment ends; false: its model_info names none.
func endOf(d *resource.Deployment) (time.Time, bool) {
	var info struct {
		Date string `json:"deprecation_date"`
	}
	if len(d.Metadata) == 0 || json.Unmarshal(d.Metadata, &info) != nil {
		return time.Time{}, false
	}
	at, err := time.Parse(time.DateOnly, info.Date)
	return at, err == nil
}
