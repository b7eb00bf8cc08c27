package docker

import (
	"log/slog"

	"github.com/bridged/bridged"
)

// driver does the calls.
type driver struct {
	engine   Engine
	log      *slog.Logger
	names    *names
	prefixes prefixes
}

// isID says whether an id is of Docker's form, which is ours.
func isID(id string) bool { return bridged.CheckID("", id) == nil }

func checkID(field, id string) error {
	if !isID(id) {
		return fieldError(field, "%.80q is no id: want 64 hex digits", id)
	}
	return nil
}

// network is Docker's network of that id. The ids of others are not Docker's to know.
func (d *driver) network(id string) (n bridged.Network, err error) {
	if err := checkID("NetworkID", id); err != nil {
		return n, err
	}
	if n, err = d.engine.FindNetwork(id); err == nil && (n.ID != id || !n.HasLabel(bridged.LabelDocker)) {
		err = bridged.Errorf(bridged.ErrNotFound, "network %s is not one of Docker's", id)
	}
	return n, err
}

// endpoint is the lease that has the endpoint's id as its key.
func (d *driver) endpoint(ref endpointRef) (bridged.Joined, error) {
	n, err := d.network(ref.NetworkID)
	if err != nil {
		return bridged.Joined{}, err
	}
	if err := checkID("EndpointID", ref.EndpointID); err != nil {
		return bridged.Joined{}, err
	}
	j, _, ok := d.engine.Interface(ref.EndpointID)
	if !ok || j.Network.ID != n.ID {
		return bridged.Joined{}, bridged.Errorf(bridged.ErrNotFound, "endpoint %s not found on network %s", ref.EndpointID, n.Name)
	}
	return j, nil
}
