// A member of a group by kafkajs; see the README of the clients for what it tells.
'use strict'

const { Kafka, logLevel } = require('kafkajs')

const options = JSON.parse(process.argv[3])

const tell = (event, content) =>
  process.stdout.write(JSON.stringify({ event, ...content }) + '\n')

const failed = error => {
  console.error(error)
  tell('failed', { class: error.type || error.name, message: error.message })
}

const kafka = new Kafka({
  clientId: options.client_id,
  brokers: [process.argv[2]],
  logLevel: logLevel.ERROR,
  logCreator: () => ({ log }) => console.error(log.message, log.error || ''),
  retry: { initialRetryTime: 100, maxRetryTime: 500, retries: 200 },
})
const consumer = kafka.consumer({
  groupId: options.group,
  sessionTimeout: options.session_timeout_ms,
  heartbeatInterval: options.heartbeat_ms,
  metadataMaxAge: options.metadata_max_age_ms,
  rebalanceTimeout: 10000,
  maxWaitTimeInMs: 200,
  allowAutoTopicCreation: false,
  retry: { initialRetryTime: 100, maxRetryTime: 500, retries: 200 },
})

let owned = []

const give = places => {
  owned = places
  tell('assigned', { partitions: owned })
}

const take = () => {
  tell('revoked', { partitions: owned })
  owned = []
}

const commit = async (topic, partition, first, last) => {
  const { commit_below: below, commit_metadata: metadata } = options
  if (below != null && first >= below) return
  const offset = below == null ? last + 1 : Math.min(last + 1, below)
  try {
    await consumer.commitOffsets([{ topic, partition, offset: String(offset), metadata }])
    tell('committed', { offsets: [[topic, partition, offset]] })
  } catch (error) {
    failed(error)
    throw error
  }
}

const eachBatch = async ({ batch, resolveOffset, heartbeat, isStale }) => {
  const { topic, partition, messages } = batch
  if (isStale()) return
  const records = messages.map(({ offset, value }) => [Number(offset), value.toString()])
  tell('read', { topic, partition, records })
  await commit(topic, partition, records[0][0], records[records.length - 1][0])
  // A heartbeat fails when the group rebalances, and what is not resolved by then is fetched again.
  resolveOffset(messages[messages.length - 1].offset)
  await heartbeat()
}

const run = async () => {
  tell('started', { version: require('kafkajs/package.json').version })
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    if (owned.length > 0) take()
    const assignment = Object.entries(payload.memberAssignment)
    give(assignment.flatMap(([topic, partitions]) => partitions.map(p => [topic, p])))
  })
  consumer.on(consumer.events.REBALANCING, take)
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    failed(payload.error)
    take()
  })
  await consumer.connect()
  await consumer.subscribe({ topics: options.topics, fromBeginning: true })
  await consumer.run({ autoCommit: false, eachBatch })
  process.stdin.resume()
  process.stdin.on('end', async () => {
    await consumer.disconnect()
    tell('left')
    process.exit(0)
  })
}

run().catch(error => {
  failed(error)
  process.exit(1)
})
