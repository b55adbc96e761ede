using System.Net;
using System.Net.Sockets;
using System.Security.Authentication;
using Hypervisor.Hosting.Registries;
using Hypervisor.Hosting.Yaml;

namespace Hypervisor.Server.Images.Downloads;

/// <summary>One file from a web server, opened again where a connection broke.</summary>
/// <param name="open">Asks for the file from an offset on.</param>
/// <param name="began">Told its length once, before anything is read.</param>
internal sealed class Transfer(
    Uri address, Func<long, CancellationToken, Task<HttpResponseMessage>> open, Action<long?> began, TimeProvider time) : IAsyncDisposable
{
    private readonly long _since = time.GetTimestamp();
    private HttpResponseMessage? _response;
    private Stream? _body;
    private long? _length;
    private long _position;

    /// <summary>Bytes that are sent again although they were not asked for.</summary>
    private long _skip;
    private bool _begun;
    private int _attempts;
    private int _interruptions;

    /// <returns>0 at the end.</returns>
    /// <exception cref="RegistryException"/>
    public async Task<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken)
    {
        while (true)
        {
            if (time.GetElapsedTime(_since) > Limits.Disks.Download)
            {
                throw new RegistryException(
                    RegistryFailure.Invalid, $"{Host} needs more than {Limits.Disks.Download.TotalMinutes} minutes for the file; fetch it yourself and upload it.");
            }

            try
            {
                using var stalled = new Deadline(Limits.Disks.DownloadStall, time, cancellationToken);
                if (_body is null)
                {
                    await OpenAsync(stalled);
                }

                var count = await _body!.ReadAsync(buffer[..(int)Math.Min(buffer.Length, _skip > 0 ? _skip : buffer.Length)], stalled.Token);
                if (_skip > 0 && count > 0)
                {
                    _skip -= count;
                    continue;
                }

                if (count == 0 && (_skip > 0 || _position < (_length ?? _position)))
                {
                    throw new RegistryException(RegistryFailure.Unavailable, $"{Host} ended the transfer after {_position} of {_length} bytes.");
                }

                if (count > 0)
                {
                    _position += count;
                    _attempts = 0;
                }

                return count;
            }
            catch (Exception exception) when (exception is RegistryException || RegistryCalls.IsConnectionFault(exception))
            {
                cancellationToken.ThrowIfCancellationRequested();
                await CloseAsync();
                var failure = Explain(Host, exception);
                if (!failure.IsTransient || ++_attempts >= Limits.Disks.DownloadAttempts || ++_interruptions > Limits.Disks.DownloadInterruptions
                    || failure.RetryAfter > RegistryLimits.LongestWait)
                {
                    throw failure;
                }

                await Task.Delay(failure.RetryAfter is { } asked && asked > TimeSpan.Zero ? asked : Limits.Disks.DownloadBackoff * _attempts, time, cancellationToken);
            }
        }
    }

    public async ValueTask DisposeAsync() => await CloseAsync();

    /// <summary>Puts what a connection threw into words.</summary>
    public static RegistryException Explain(string host, Exception exception)
    {
        for (var inner = exception; inner is not null; inner = inner.InnerException)
        {
            switch (inner)
            {
                case RegistryException own:
                    return own;
                case AuthenticationException:
                    return new(RegistryFailure.Untrusted, $"{host} cannot be trusted: {Shown(inner.Message)}", exception);
                case SocketException socket:
                    return new(RegistryFailure.Unavailable, $"{host} cannot be reached: {Shown(socket.Message)}.", exception);
            }
        }

        return exception is OperationCanceledException
            ? new(RegistryFailure.Unavailable, $"{host} did not answer in time.", exception)
            : new(RegistryFailure.Unavailable, $"{host} broke the connection off: {Shown(exception.Message)}", exception);
    }

    private string Host => address.Authority;

    private static string Shown(string message) => DisplayText.Of(message.Length > 200 ? message[..200] : message);

    private async Task OpenAsync(Deadline stalled)
    {
        _response = await open(_position, stalled.Token);
        var partial = _response.StatusCode == HttpStatusCode.PartialContent;
        var range = _response.Content.Headers.ContentRange;
        var length = partial ? range?.Length : _response.Content.Headers.ContentLength;
        if ((partial && range?.From != _position) || (_begun && length is not null && length != _length))
        {
            throw new RegistryException(RegistryFailure.Invalid, $"{Host} has other content than a moment ago; import it again.");
        }

        if (!_begun)
        {
            began(length);
            (_begun, _length) = (true, length);
        }

        _skip = partial ? 0 : _position;
        _body = await _response.Content.ReadAsStreamAsync(stalled.Token);
    }

    private async ValueTask CloseAsync()
    {
        if (_body is not null)
        {
            await _body.DisposeAsync();
        }

        _response?.Dispose();
        (_body, _response) = (null, null);
    }
}
