package resource

import "strings"

// The regions that a customer can be held to.
const (
	RegionEU = "eu"
	RegionUS = "us"
)

// azureEU and azureUS are the parts of Azure's names of places.
var (
	azureEU = []string{"westeurope", "northeurope", "france", "germany", "italy", "poland", "spain", "sweden", "austria", "belgium", "denmark", "finland"}
	azureUS = []string{"eastus", "westus", "centralus", "usgov", "usdod"}
)

// InRegion says whether a place, as clouds name it, lies in a region of the constants: "eu", "eu-west-1",
// "europe-west4", "swedencentral", "us-east-1", "eastus2". What is not known lies in none.
func InRegion(region, place string) bool {
	place = strings.ToLower(place)
	var begins, parts []string
	switch region {
	case RegionEU:
		begins, parts = []string{"eu-", "europe-"}, azureEU
	case RegionUS:
		begins, parts = []string{"us-"}, azureUS
	default:
		return false
	}
	if place == region {
		return true
	}
	for _, b := range begins {
		if strings.HasPrefix(place, b) {
			return true
		}
	}
	for _, p := range parts {
		if strings.Contains(place, p) {
			return true
		}
	}
	return false
}

// Customer is an end user of an application: its id is what requests carry as their user.
// A record exists only for those that are blocked or have a policy of their own. Customers
// are looked up by id, not in the Catalog.
type Customer struct {
	Meta
	Policy
	Name         string `json:"name,omitempty"` // LiteLLM's alias; not unique
	DefaultModel string `json:"default_model,omitempty"`
	Region       string `json:"region,omitempty"` // only deployments there may answer; LiteLLM's allowed_model_region
	Blocked      bool   `json:"blocked,omitempty" cbor:"-"`
}

// Label implements Record.
func (c *Customer) Label() string { return "" }

// Canonicalize implements Record.
func (c *Customer) Canonicalize() { c.canonicalize() }

// Validate implements Record.
func (c *Customer) Validate() error {
	if err := validName("id", c.ID); err != nil {
		return err
	}
	if c.Name != "" {
		if err := validName("name", c.Name); err != nil {
			return err
		}
	}
	switch c.Region {
	case "", RegionEU, RegionUS:
	default:
		return invalidf("region", "%q is not one of eu, us", c.Region)
	}
	return c.validate()
}
