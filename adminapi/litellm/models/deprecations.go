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

// deprecations lists the deployments whose model ends on a day that is known.
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
			at, ok := a.endOf(m, d)
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

// endOf is the day on which the model of a deployment ends, by its model_info, else by the list; false: nobody knows.
func (a *api) endOf(m *resource.Model, d *resource.Deployment) (time.Time, bool) {
	var info struct {
		Date string `json:"deprecation_date"`
	}
	if len(d.Metadata) > 0 {
		_ = json.Unmarshal(d.Metadata, &info) // what is no text is no day
	}
	if info.Date == "" {
		if known, ok := a.cfg.Book().Of(d, m.Name); ok {
			info.Date = known.DeprecatedOn
		}
	}
	at, err := time.Parse(time.DateOnly, info.Date)
	return at, err == nil
}
