using System.Diagnostics;
using System.Globalization;
using Google.Protobuf;
using Grpc.Core;
using Grpc.Net.Client;
using OpenTelemetry.Traces.V1;

namespace Hypervisor.Agent.Telemetry;

/// <summary>Sends the agent's spans to an OTLP collector, some seconds' worth at a time. What a collector that is away misses is dropped.</summary>
internal sealed partial class SpanExport : IDisposable
{
    private readonly Lock _gate = new();
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly Resource _resource;
    private readonly GrpcChannel _channel;
    private readonly ActivityListener _listener;
    private List<Span> _ended = [];
    private long _dropped;
    private bool _failing;

    public SpanExport(Uri collector, string node, string version, TimeProvider time, ILogger<SpanExport> logger)
    {
        (_time, _logger) = (time, logger);
        _resource = new Resource
        {
            Attributes = { Attribute("service.name", "hypervisor-agent"), Attribute("service.version", version), Attribute("service.instance.id", node) },
        };
        _channel = GrpcChannel.ForAddress(collector, new GrpcChannelOptions
        {
            // No propagator: sending spans is no part of what they tell.
            HttpHandler = new SocketsHttpHandler { UseProxy = false, AllowAutoRedirect = false, ActivityHeadersPropagator = null },
            DisposeHttpClient = true,
        });
        _listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == AgentTraces.SourceName,

            // As the server decided: the flag comes with the trace.
            Sample = (ref ActivityCreationOptions<ActivityContext> options) => options.Parent.TraceFlags.HasFlag(ActivityTraceFlags.Recorded)
                ? ActivitySamplingResult.AllDataAndRecorded
                : ActivitySamplingResult.None,
            ActivityStopped = Take,
        };
        ActivitySource.AddActivityListener(_listener);
    }

    /// <summary>Until cancelled; what has ended by then is sent first.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        try
        {
            while (true)
            {
                await Task.Delay(Limits.SpanInterval, _time, cancellationToken);
                await SendAsync(cancellationToken);
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            await SendAsync(CancellationToken.None);
        }
    }

    public void Dispose()
    {
        _listener.Dispose();
        _channel.Dispose();
    }

    private void Take(Activity activity)
    {
        if (!activity.Recorded)
        {
            return;
        }

        var span = SpanOf(activity);
        lock (_gate)
        {
            if (_ended.Count < Limits.WaitingSpans)
            {
                _ended.Add(span);
            }
            else
            {
                _dropped++;
            }
        }
    }

    private async Task SendAsync(CancellationToken cancellationToken)
    {
        List<Span> spans;
        lock (_gate)
        {
            (spans, _ended) = (_ended, []);
        }

        if (spans.Count == 0)
        {
            return;
        }

        var scope = new ScopeSpans { Scope = new Scope { Name = AgentTraces.SourceName }, Spans = { spans } };
        try
        {
            await new TraceService.TraceServiceClient(_channel).ExportAsync(
                new ExportTraceServiceRequest { ResourceSpans = { new ResourceSpans { Resource = _resource, ScopeSpans = { scope } } } },
                deadline: _time.GetUtcNow().UtcDateTime + Limits.SpanDeadline,
                cancellationToken: cancellationToken);
            if (_failing)
            {
                _failing = false;
                var dropped = Interlocked.Exchange(ref _dropped, 0);
                LogWorks(dropped);
            }
        }
        catch (RpcException failure) when (!cancellationToken.IsCancellationRequested)
        {
            Interlocked.Add(ref _dropped, spans.Count);
            if (!_failing)
            {
                _failing = true;
                LogFails(failure.StatusCode, failure.Status.Detail);
            }
        }
    }

    private static Span SpanOf(Activity activity)
    {
        var begun = new DateTimeOffset(activity.StartTimeUtc) - DateTimeOffset.UnixEpoch;
        var span = new Span
        {
            TraceId = ByteString.CopyFrom(Convert.FromHexString(activity.TraceId.ToHexString())),
            SpanId = ByteString.CopyFrom(Convert.FromHexString(activity.SpanId.ToHexString())),
            ParentSpanId = ByteString.CopyFrom(Convert.FromHexString(activity.ParentSpanId.ToHexString())),
            Name = activity.DisplayName,
            Kind = 1,
            StartTimeUnixNano = (ulong)begun.Ticks * 100,
            EndTimeUnixNano = (ulong)(begun + activity.Duration).Ticks * 100,
        };
        foreach (var (key, value) in activity.TagObjects)
        {
            span.Attributes.Add(Attribute(key, Convert.ToString(value, CultureInfo.InvariantCulture) ?? ""));
        }

        if (activity.Status == ActivityStatusCode.Error)
        {
            span.Status = new SpanStatus { Code = 2, Message = activity.StatusDescription ?? "" };
        }

        return span;
    }

    private static OpenTelemetry.Traces.V1.Attribute Attribute(string key, string value) =>
        new() { Key = key, Value = new AttributeValue { StringValue = value } };

    [LoggerMessage(Level = LogLevel.Warning, Message = "The collector of traces does not take spans ({Code}: {Detail}); they are dropped until it does")]
    private partial void LogFails(StatusCode code, string detail);

    [LoggerMessage(Level = LogLevel.Information, Message = "The collector of traces takes spans again; {Dropped} were dropped")]
    private partial void LogWorks(long dropped);
}
