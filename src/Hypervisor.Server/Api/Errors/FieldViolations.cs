namespace Hypervisor.Server.Api.Errors;

/// <summary>Collects everything that is wrong with a request, so that it is answered at once.</summary>
internal sealed class FieldViolations
{
    private readonly List<FieldViolation> _violations = [];
    private int _unlisted;

    public bool Any => _violations.Count > 0;

    public IReadOnlyList<FieldViolation> All => _violations;

    public void Add(string field, string description)
    {
        if (_violations.Count < Limits.Api.FieldViolations)
        {
            _violations.Add(new(field, description));
        }
        else
        {
            _unlisted++;
        }
    }

    /// <exception cref="Grpc.Core.RpcException">INVALID_ARGUMENT when there is any.</exception>
    public void ThrowIfAny()
    {
        if (!Any)
        {
            return;
        }

        throw ApiErrors.InvalidArgument(_unlisted == 0
            ? _violations
            : [.. _violations, new("", $"{_unlisted} more violations are not listed.")]);
    }
}
