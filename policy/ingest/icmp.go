package ingest

import "github.com/septum-dev/septum/policy"

// icmpByName returns the type of an ICMP message by the name that Cilium gives it (the
// names are IANA's, without spaces).
func icmpByName(protocol policy.Protocol, name string) (int16, bool) {
	if protocol == policy.ProtocolICMPv6 {
		return icmpv6ByName(name)
	}
	switch name {
	case "EchoReply":
		return 0, true
	case "DestinationUnreachable":
		return 3, true
	case "Redirect":
		return 5, true
	case "Echo", "EchoRequest":
		return 8, true
	case "RouterAdvertisement":
		return 9, true
	case "RouterSelection":
		return 10, true
	case "TimeExceeded":
		return 11, true
	case "ParameterProblem":
		return 12, true
	case "Timestamp":
		return 13, true
	case "TimestampReply":
		return 14, true
	case "Photuris":
		return 40, true
	case "ExtendedEchoRequest":
		return 42, true
	case "ExtendedEchoReply":
		return 43, true
	}
	return 0, false
}

func icmpv6ByName(name string) (int16, bool) {
	// From 128 and from 144 on the types are numbered without a gap.
	fromEcho := []string{
		"EchoRequest", "EchoReply", "MulticastListenerQuery", "MulticastListenerReport", "MulticastListenerDone",
		"RouterSolicitation", "RouterAdvertisement", "NeighborSolicitation", "NeighborAdvertisement", "RedirectMessage",
		"RouterRenumbering", "ICMPNodeInformationQuery", "ICMPNodeInformationResponse",
		"InverseNeighborDiscoverySolicitation", "InverseNeighborDiscoveryAdvertisement",
	}
	for i, n := range fromEcho {
		if n == name {
			return 128 + int16(i), true
		}
	}
	switch name {
	case "DestinationUnreachable":
		return 1, true
	case "PacketTooBig":
		return 2, true
	case "TimeExceeded":
		return 3, true
	case "ParameterProblem":
		return 4, true
	case "HomeAgentAddressDiscoveryRequest":
		return 144, true
	case "HomeAgentAddressDiscoveryReply":
		return 145, true
	case "MobilePrefixSolicitation":
		return 146, true
	case "MobilePrefixAdvertisement":
		return 147, true
	case "DuplicateAddressRequestCodeSuffix":
		return 157, true
	case "DuplicateAddressConfirmationCodeSuffix":
		return 158, true
	case "ExtendedEchoRequest":
		return 160, true
	case "ExtendedEchoReply":
		return 161, true
	}
	return 0, false
}
